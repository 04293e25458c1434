/**
 * Writes PNG pictures of 8-bit RGB: signature, IHDR, IDAT, IEND, each chunk with its CRC. node:zlib does the rest.
 * Every row is stored as differences to its left neighbour (filter 1), which smooth pictures compress well with.
 */
import { crc32, deflateSync } from "node:zlib";

const signature = Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]);
const bytesPerPixel = 3;
const filterSub = 1;

export interface RgbPicture {
  readonly width: number;
  readonly height: number;
  /** width * height * 3 bytes, row after row. */
  readonly pixels: Uint8Array;
}

export function encodePng({ width, height, pixels }: RgbPicture): Buffer {
  const rowBytes = width * bytesPerPixel;
  if (pixels.length !== rowBytes * height) {
    throw new RangeError(`${pixels.length} bytes are not ${width} x ${height} pixels`);
  }
  const rows = Buffer.allocUnsafe((rowBytes + 1) * height);
  for (let y = 0; y < height; y += 1) {
    const to = y * (rowBytes + 1);
    const from = y * rowBytes;
    rows[to] = filterSub;
    for (let x = 0; x < rowBytes; x += 1) {
      const left = x < bytesPerPixel ? 0 : pixels[from + x - bytesPerPixel]!;
      rows[to + 1 + x] = pixels[from + x]! - left;
    }
  }
  const header = Buffer.alloc(13); // zeros at the end: deflate, adaptive filters, not interlaced
  header.writeUInt32BE(width, 0);
  header.writeUInt32BE(height, 4);
  header[8] = 8; // bits of a sample
  header[9] = 2; // RGB
  return Buffer.concat([
    signature,
    chunk("IHDR", header),
    chunk("IDAT", deflateSync(rows, { level: 6 })),
    chunk("IEND", Buffer.alloc(0)),
  ]);
}

function chunk(type: string, data: Buffer): Buffer {
  const body = Buffer.concat([Buffer.from(type, "latin1"), data]);
  const framed = Buffer.allocUnsafe(body.length + 8);
  framed.writeUInt32BE(data.length, 0);
  body.copy(framed, 4);
  framed.writeUInt32BE(crc32(body), body.length + 4);
  return framed;
}
