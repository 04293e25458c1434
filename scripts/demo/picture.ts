/** `npm run demo`: the Mandelbrot picture. Tiles are put in place as they come; some are computed again to check. */
import { writeFile } from "node:fs/promises";
import { resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { loadTask } from "@everycore/client/internal";
import { countText } from "../../packages/cli/src/terminal/table.ts";
import { runJob } from "./job.ts";
import type { Demo } from "./job.ts";
import renderTile, { picture, tileCount, tileRowBytes, tilesAcross } from "./mandelbrot.ts";
import { encodePng } from "./png.ts";
import { reportText } from "./report.ts";

/** Every so many tiles one is computed again here. */
const checkEvery = 97;

export const drawPicture: Demo = async ({ cluster, slots, out, say, signal }) => {
  const { width, height } = picture;
  say(`drawing ${width} x ${height} pixels of the Mandelbrot set in ${countText(tileCount)} tiles\n`);
  const file = fileURLToPath(new URL("mandelbrot.ts", import.meta.url));
  const { bundle, export: name } = await loadTask({ task: `${file}:default` });
  await cluster.putBundle(bundle, { signal });
  const pixels = new Uint8Array(width * height * 3);
  const task = { runtime: "js", bundle: bundle.digest, entry: bundle.entry, export: name } as const;
  const ended = await runJob({
    cluster,
    slots,
    name: "mandelbrot",
    task,
    items: tileCount,
    signal,
    onOutcomes: (outcomes) => {
      for (const outcome of outcomes) place(pixels, outcome.index, outcome.value());
    },
  });
  say(reportText(ended, await cluster.listNodes({ signal })));
  let checked = 0;
  for (let tile = 0; tile < tileCount; tile += checkEvery, checked += 1) {
    if (!isInPlace(pixels, tile)) throw new Error(`tile ${tile} differs from the same tile computed here`);
  }
  const path = resolve(out ?? "everycore-demo.png");
  await writeFile(path, encodePng({ width, height, pixels }));
  say(`\n${checked} tiles computed again in this process: the same bytes\n`);
  process.stdout.write(`${path}\n`);
};

function place(pixels: Uint8Array, tile: number, value: unknown): void {
  if (!(value instanceof Uint8Array) || value.length !== tileRowBytes * picture.tile) {
    throw new TypeError(`tile ${tile} is not ${tileRowBytes * picture.tile} bytes`);
  }
  for (let row = 0; row < picture.tile; row += 1) {
    pixels.set(value.subarray(row * tileRowBytes, (row + 1) * tileRowBytes), rowStart(tile, row));
  }
}

function isInPlace(pixels: Uint8Array, tile: number): boolean {
  const expected = renderTile(tile);
  for (let row = 0; row < picture.tile; row += 1) {
    const start = rowStart(tile, row);
    const there = pixels.subarray(start, start + tileRowBytes);
    if (Buffer.compare(there, expected.subarray(row * tileRowBytes, (row + 1) * tileRowBytes)) !== 0)
      return false;
  }
  return true;
}

function rowStart(tile: number, row: number): number {
  const x = (tile % tilesAcross) * picture.tile;
  const y = Math.floor(tile / tilesAcross) * picture.tile + row;
  return (y * picture.width + x) * 3;
}
