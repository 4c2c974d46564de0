// Pixels as a PNG file, without compression: it travels within the machine only, and UXP has no deflate. PNG (third edition) with
// stored blocks of RFC 1950 and 1951.

/** Pixels as a host gives them. */
export interface Raster {
  readonly width: number;
  readonly height: number;
  /** Grey, grey and alpha, RGB, RGBA. */
  readonly components: 1 | 2 | 3 | 4;
  /** `components * width * height` samples, row by row; those of 16 bits reach from 0 to 65535. */
  readonly data: Uint8Array | Uint16Array;
}

/** Colour types of PNG by components. */
const KINDS = { 1: 0, 2: 4, 3: 2, 4: 6 } as const;
/** Bytes of a stored block. */
const BLOCK = 65_535;
const ADLER = 65_521;

const CRC = Uint32Array.from({ length: 256 }, (_, at) => {
  let value = at;
  for (let bit = 0; bit < 8; bit += 1) {
    value = value & 1 ? 0xedb88320 ^ (value >>> 1) : value >>> 1;
  }
  return value >>> 0;
});

/** Encodes; the file is a little larger than the pixels. */
export function encodePng(raster: Raster): Uint8Array {
  const { width, height, components, data } = raster;
  const depth = data instanceof Uint16Array ? 16 : 8;
  const head = new Uint8Array(13);
  const view = new DataView(head.buffer);
  view.setUint32(0, width);
  view.setUint32(4, height);
  head.set([depth, KINDS[components], 0, 0, 0], 8);
  const parts = [
    Uint8Array.of(0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a),
    chunk("IHDR", head),
    chunk("IDAT", stored(rows(raster))),
    chunk("IEND", new Uint8Array(0)),
  ];
  return joined(parts);
}

/** Each row after its filter, none; samples of 16 bits with the larger byte first. */
function rows({ width, height, components, data }: Raster): Uint8Array {
  const samples = width * components;
  const wide = data instanceof Uint16Array;
  const length = samples * (wide ? 2 : 1) + 1;
  const out = new Uint8Array(length * height);
  for (let y = 0; y < height; y += 1) {
    const from = y * samples;
    const to = y * length + 1;
    if (!wide) {
      out.set(data.subarray(from, from + samples) as Uint8Array, to);
      continue;
    }
    for (let at = 0; at < samples; at += 1) {
      const sample = data[from + at] ?? 0;
      out[to + 2 * at] = sample >> 8;
      out[to + 2 * at + 1] = sample & 255;
    }
  }
  return out;
}

function stored(bytes: Uint8Array): Uint8Array {
  const parts: Uint8Array[] = [Uint8Array.of(0x78, 0x01)];
  for (let at = 0; at < bytes.length || at === 0; at += BLOCK) {
    const block = bytes.subarray(at, at + BLOCK);
    const last = at + BLOCK >= bytes.length ? 1 : 0;
    const { length } = block;
    parts.push(Uint8Array.of(last, length & 255, length >> 8, ~length & 255, (~length >> 8) & 255), block);
  }
  let [a, b] = [1, 0];
  for (let at = 0; at < bytes.length; ) {
    // Sums stay below 2^32 for this many bytes.
    for (const end = Math.min(at + 3000, bytes.length); at < end; at += 1) {
      a += bytes[at] ?? 0;
      b += a;
    }
    a %= ADLER;
    b %= ADLER;
  }
  parts.push(Uint8Array.of(b >> 8, b & 255, a >> 8, a & 255));
  return joined(parts);
}

function chunk(name: string, data: Uint8Array): Uint8Array {
  const out = new Uint8Array(data.length + 12);
  const view = new DataView(out.buffer);
  view.setUint32(0, data.length);
  out.set(Array.from(name, (letter) => letter.charCodeAt(0)), 4);
  out.set(data, 8);
  let crc = 0xffffffff;
  for (const byte of out.subarray(4, data.length + 8)) {
    crc = (CRC[(crc ^ byte) & 255] ?? 0) ^ (crc >>> 8);
  }
  view.setUint32(data.length + 8, ~crc);
  return out;
}

function joined(parts: readonly Uint8Array[]): Uint8Array {
  const out = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    out.set(part, at);
    at += part.length;
  }
  return out;
}
