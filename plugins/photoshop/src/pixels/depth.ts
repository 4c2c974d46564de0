// Photoshop's 16 bits reach from 0 to 32768; files use all of 0 to 65535.

/** White of Photoshop's 16 bits. */
export const WHITE = 32_768;

/** To the full range, as PNG has it. */
export function toFull(data: Uint16Array): Uint16Array {
  return data.map((value) => Math.round((Math.min(value, WHITE) * 65_535) / WHITE));
}

/** Samples of a file for a document of so many bits. */
export function toDocument(data: Uint8Array | Uint16Array, bits: 8 | 16): Uint8Array | Uint16Array {
  const most = data instanceof Uint16Array ? 65_535 : 255;
  if (bits === 16) {
    return Uint16Array.from(data, (value) => Math.round((value * WHITE) / most));
  }
  return most === 255 ? data : Uint8Array.from(data, (value) => Math.round((value * 255) / most));
}
