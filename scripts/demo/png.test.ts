import { crc32, inflateSync } from "node:zlib";
import { expect, test } from "vitest";
import { encodePng } from "./png.ts";

/** Chunks of a PNG, each with its CRC checked. */
function chunksOf(png: Buffer): Map<string, Buffer> {
  const chunks = new Map<string, Buffer>();
  for (let at = 8; at < png.length;) {
    const bytes = png.readUInt32BE(at);
    expect(crc32(png.subarray(at + 4, at + 8 + bytes))).toBe(png.readUInt32BE(at + 8 + bytes));
    chunks.set(png.toString("latin1", at + 4, at + 8), png.subarray(at + 8, at + 8 + bytes));
    at += bytes + 12;
  }
  return chunks;
}

test("a picture that is written is the picture that is read, pixel by pixel", () => {
  const width = 7;
  const height = 5;
  const pixels = Uint8Array.from({ length: width * height * 3 }, (_, at) => (at * 89 + (at >> 2) * 31) % 256);
  const png = encodePng({ width, height, pixels });
  expect(png.subarray(0, 8)).toEqual(Buffer.from("\x89PNG\r\n\x1A\n", "latin1"));
  const chunks = chunksOf(png);
  expect([...chunks.keys()]).toEqual(["IHDR", "IDAT", "IEND"]);
  const header = chunks.get("IHDR")!;
  expect([header.readUInt32BE(0), header.readUInt32BE(4), ...header.subarray(8)]).toEqual([
    7, 5, 8, 2, 0, 0, 0,
  ]);
  const rows = inflateSync(chunks.get("IDAT")!);
  const read = new Uint8Array(pixels.length);
  for (let y = 0; y < height; y += 1) {
    expect(rows[y * (width * 3 + 1)]).toBe(1);
    for (let x = 0; x < width * 3; x += 1) {
      const left = x < 3 ? 0 : read[y * width * 3 + x - 3]!;
      read[y * width * 3 + x] = rows[y * (width * 3 + 1) + 1 + x]! + left;
    }
  }
  expect(read).toEqual(pixels);
});

test("bytes that are no picture of that size are refused", () => {
  expect(() => encodePng({ width: 2, height: 2, pixels: new Uint8Array(11) })).toThrow("11 bytes");
});
