// A picture as a URL with all its bytes in it: the one form that every host shows, UXP among them.

const LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/** `data:` URL of a small picture. */
export function pictureUrl(bytes: Uint8Array, mimeType: string): string {
  const parts: string[] = [];
  for (let at = 0; at < bytes.length; at += 3) {
    const [a = 0, b, c] = bytes.subarray(at, at + 3);
    const bits = (a << 16) | ((b ?? 0) << 8) | (c ?? 0);
    const digits = [bits >> 18, (bits >> 12) & 63, (bits >> 6) & 63, bits & 63].map((digit) => LETTERS[digit]);
    parts.push(`${digits[0]}${digits[1]}${b === undefined ? "=" : digits[2]}${c === undefined ? "=" : digits[3]}`);
  }
  return `data:${mimeType};base64,${parts.join("")}`;
}
