// The pixels of a TIFF file as the daemon writes it: one image, in strips, without compression, chunky, 8 or 16 bits (TIFF 6.0,
// part 1). It is the lossless form that can be read without inflate, which UXP has not.

import type { Raster } from "./png.js";

const TAG = { width: 256, height: 257, bits: 258, compression: 259, offsets: 273, samples: 277, counts: 279, planar: 284 } as const;
/** Bytes of the types BYTE, SHORT, LONG. */
const SIZES: Readonly<Record<number, number>> = { 1: 1, 3: 2, 4: 4 };

/** Reads the pixels; throws when the file is none of those above. */
export function decodeTiff(file: Uint8Array): Raster {
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  const little = view.getUint16(0) === 0x4949;
  if ((!little && view.getUint16(0) !== 0x4d4d) || view.getUint16(2, little) !== 42) {
    throw new Error("this is no TIFF file");
  }
  const tags = entries(view, little);
  const one = (tag: number, otherwise: number): number => tags.get(tag)?.[0] ?? otherwise;
  const [width, height, samples] = [one(TAG.width, 0), one(TAG.height, 0), one(TAG.samples, 1)];
  const bits = one(TAG.bits, 1);
  if (one(TAG.compression, 1) !== 1 || one(TAG.planar, 1) !== 1 || ![8, 16].includes(bits) || samples < 1 || samples > 4) {
    throw new Error("this TIFF file is compressed, or its pixels are of a kind that is not known here");
  }
  const bytes = new Uint8Array((width * height * samples * bits) / 8);
  let at = 0;
  const counts = tags.get(TAG.counts) ?? [];
  for (const [strip, offset] of (tags.get(TAG.offsets) ?? []).entries()) {
    const part = file.subarray(offset, offset + (counts[strip] ?? 0)).subarray(0, bytes.length - at);
    bytes.set(part, at);
    at += part.length;
  }
  if (at !== bytes.length || at === 0) {
    throw new Error("this TIFF file ends too early");
  }
  const components = samples as Raster["components"];
  return { width, height, components, data: bits === 8 ? bytes : wide(bytes, little) };
}

/** The values of the entries of the first directory, by their tags. */
function entries(view: DataView, little: boolean): Map<number, number[]> {
  const found = new Map<number, number[]>();
  const start = view.getUint32(4, little);
  for (let entry = 0; entry < view.getUint16(start, little); entry += 1) {
    const at = start + 2 + 12 * entry;
    const size = SIZES[view.getUint16(at + 2, little)];
    const count = view.getUint32(at + 4, little);
    if (size === undefined || count > 1_000_000) {
      continue;
    }
    const from = size * count <= 4 ? at + 8 : view.getUint32(at + 8, little);
    const values = Array.from({ length: count }, (_, i) => {
      const place = from + size * i;
      return size === 1 ? view.getUint8(place) : size === 2 ? view.getUint16(place, little) : view.getUint32(place, little);
    });
    found.set(view.getUint16(at, little), values);
  }
  return found;
}

function wide(bytes: Uint8Array, little: boolean): Uint16Array {
  const view = new DataView(bytes.buffer);
  return Uint16Array.from({ length: bytes.length / 2 }, (_, at) => view.getUint16(2 * at, little));
}
