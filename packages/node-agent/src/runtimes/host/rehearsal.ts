/**
 * A spare runs a task of two items once before it gets its first one, so that V8 has compiled whatever a job goes
 * through: of the 5 ms from a task's frame to its first outcome 2.5 ms are such first times. On a slot of its own, whose
 * outcomes go nowhere; nobody hears of it.
 */
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { codecs, encode, page, writeU64 } from "@everycore/protocol/worker";
import type { Runner } from "./loop.ts";
import { WorkerLoop } from "./loop.ts";
import { Slot } from "./slot.ts";

const items = 2;
const entry = "task.mjs";
const mapMark = "//# sourceMapping"; // whole, it would be taken for this file's own by tools
// As bundles are: an ES module with a source map.
const code = `export function rehearsal(item, context) {
  return { item, random: context.random() };
}
${mapMark}URL=${entry}.map
`;
const map = JSON.stringify({ version: 3, sources: ["task.ts"], names: [], mappings: "AAAA" });

export async function rehearse(directory: string, newRunner: () => Runner): Promise<void> {
  const dir = join(directory, "rehearsal");
  try {
    mkdirSync(dir, { mode: 0o700 });
    try {
      prepare(dir);
      await perform(dir, newRunner());
    } finally {
      rmSync(dir, { recursive: true, force: true });
    }
  } catch {
    // A full disk: the first job is slower by this much.
  }
}

function prepare(dir: string): void {
  writeFileSync(join(dir, entry), code);
  writeFileSync(join(dir, `${entry}.map`), map);
  const cells = Buffer.alloc(page.bytes);
  writeU64(cells, 1, page.limitCellAt(1));
  writeU64(cells, items, page.limitCellAt(1) + 8);
  writeFileSync(join(dir, "page"), cells);
}

async function perform(dir: string, runner: Runner): Promise<void> {
  const slot = new Slot(dir);
  try {
    const loop = new WorkerLoop(runner, slot, (frame) => void encode(frame));
    const place = { node: "", slot: 0, scratch: process.cwd() };
    const task = {
      job: "",
      runtime: "js",
      dir,
      entry,
      export: "rehearsal",
      seed: "0000000000000001",
    } as const;
    await loop.take({ t: "task", ...task, ...place, rangeStart: 0, retries: 0 });
    const slice = { slice: 1, start: 0, end: items, file: "/dev/null", head: encode({}) };
    await loop.take({ t: "slice", ...slice, codec: codecs.range, reduced: false });
  } finally {
    slot.close();
  }
}
