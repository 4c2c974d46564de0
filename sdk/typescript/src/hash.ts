// SHA-256: by the Web Cryptography API where there is one, else computed here (FIPS 180-4): UXP has none, and neither have pages
// that browsers do not trust.

/** SHA-256 in hexadecimal. */
export async function sha256(bytes: Uint8Array): Promise<string> {
  const subtle = globalThis.crypto?.subtle;
  if (subtle === undefined) {
    return hex(digest(bytes));
  }
  return hex(new Uint8Array(await subtle.digest("SHA-256", bytes as Uint8Array<ArrayBuffer>)));
}

export function hex(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** The first 64 primes: their roots are the constants of the hash. */
const PRIMES = Array.from({ length: 310 }, (_, at) => at + 2)
  .filter((n, _, all) => all.every((m) => m >= n || n % m !== 0))
  .slice(0, 64);

/** The first 32 bits of the fraction of a number. */
const fraction = (value: number): number => ((value - Math.floor(value)) * 2 ** 32) | 0;

/** SHA-256 without help of the host. */
export function digest(bytes: Uint8Array): Uint8Array {
  const constants = PRIMES.map((prime) => fraction(Math.cbrt(prime)));
  const state = Int32Array.from(PRIMES.slice(0, 8), (prime) => fraction(Math.sqrt(prime)));
  const words = new Int32Array(64);
  const whole = bytes.length - (bytes.length % 64);
  const rest = bytes.subarray(whole);
  const end = new Uint8Array(rest.length < 56 ? 64 : 128);
  end.set(rest);
  end[rest.length] = 0x80;
  new DataView(end.buffer).setBigUint64(end.length - 8, BigInt(bytes.length) * 8n);
  for (const [part, length] of [[bytes, whole], [end, end.length]] as const) {
    const view = new DataView(part.buffer, part.byteOffset);
    for (let at = 0; at < length; at += 64) {
      for (let i = 0; i < 16; i += 1) {
        words[i] = view.getInt32(at + 4 * i);
      }
      mix(state, words, constants);
    }
  }
  const out = new DataView(new ArrayBuffer(32));
  state.forEach((word, i) => out.setInt32(4 * i, word));
  return new Uint8Array(out.buffer);
}

const turn = (x: number, by: number): number => (x >>> by) | (x << (32 - by));

function mix(state: Int32Array, w: Int32Array, k: readonly number[]): void {
  for (let i = 16; i < 64; i += 1) {
    const [x, y] = [w[i - 15] as number, w[i - 2] as number];
    const low = turn(x, 7) ^ turn(x, 18) ^ (x >>> 3);
    const high = turn(y, 17) ^ turn(y, 19) ^ (y >>> 10);
    w[i] = (w[i - 16] as number) + low + (w[i - 7] as number) + high;
  }
  let [a, b, c, d, e, f, g, h] = state as unknown as [number, number, number, number, number, number, number, number];
  for (let i = 0; i < 64; i += 1) {
    const choice = (e & f) ^ (~e & g);
    const most = (a & b) ^ (a & c) ^ (b & c);
    const one = (h + (turn(e, 6) ^ turn(e, 11) ^ turn(e, 25)) + choice + (k[i] as number) + (w[i] as number)) | 0;
    const two = ((turn(a, 2) ^ turn(a, 13) ^ turn(a, 22)) + most) | 0;
    [h, g, f, e, d, c, b, a] = [g, f, e, (d + one) | 0, c, b, a, (one + two) | 0];
  }
  [a, b, c, d, e, f, g, h].forEach((word, i) => (state[i] = (state[i] as number) + word));
}
