/** Adler-32. */
export function checksum(block: Uint8Array): number {
  let [low, high] = [1, 0];
  for (const byte of block) {
    low = (low + byte) % 65_521;
    high = (high + low) % 65_521;
  }
  return high * 65_536 + low;
}

export const invert = (block: Uint8Array): Uint8Array => block.map((byte) => 255 - byte);
