/**
 * `npm run bench:report`: writes docs/performance.md and its picture from the newest results of bench, bench:peers
 * and bench:scale on this machine. Nothing in them is written by hand, so measuring again makes them anew; a section
 * for which nothing was measured here stays as it stands.
 */
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { workloads } from "../peers/workloads.ts";
import { header as scaleHeader, rowOf } from "../scale/rows.ts";
import { percentile } from "../statistics.ts";
import { markdownTable } from "./markdown.ts";
import { machineText, newest, newestFigures } from "./newest.ts";
import type { MeasuredFigure, Results } from "./newest.ts";
import { panelsOf, peersSection } from "./peers-section.ts";
import { plot } from "./plot.ts";

const docs = fileURLToPath(new URL("../../docs/", import.meta.url));
const peers = newest("peers");
const figures = newestFigures();
const scale = newest("scale");

const titles = { peers: "Against what people use today", figures: "Figures", scale: "Many agents" };

const page = `${docs}performance.md`;
const before = await readFile(page, "utf8").catch(() => "");
const sections = [
  `# Performance

Written by \`npm run bench:report\` from what \`npm run bench\`, \`npm run bench:peers\` and \`npm run bench:scale\` measured last; not edited by hand. How each figure is taken stands in [bench/README.md](../bench/README.md). Every number is the median of the repetitions; lowest and highest stand in brackets.`,
  peers === undefined ? asBefore(titles.peers) : peersPart(peers),
  figures.length === 0 ? asBefore(titles.figures) : figuresPart(figures),
  scale === undefined ? asBefore(titles.scale) : scalePart(scale),
];
await mkdir(`${docs}performance`, { recursive: true });
if (peers !== undefined) await writeFile(`${docs}performance/peers.svg`, plot(panelsOf(peers)));
await writeFile(
  page,
  `${sections
    .filter((section) => section !== "")
    .join("\n\n")
    .trimEnd()}\n`,
);
process.stderr.write("docs/performance.md is written\n");

/** The section of the page as it is; "" if it has none. */
function asBefore(title: string): string {
  const section = before.split(/^(?=## )/m).find((text) => text.startsWith(`## ${title}\n`));
  return section?.trimEnd() ?? "";
}

function peersPart(results: Results["peers"]): string {
  const { versions, slots, turns } = results;
  const turnsEach = Math.max(
    ...Map.groupBy(turns, ({ workload, contender }) => `${workload} ${contender}`)
      .values()
      .map((list) => list.length),
  );
  const named = Object.entries(versions).map(([name, version]) =>
    version === "" ? `${name} did not install here` : `${name} ${version.replace(/^v/, "")}`,
  );
  return `## ${titles.peers}

![Time of each contender for each workload](performance/peers.svg)

${machineText(results)}; ${slots} workers each; ${turnsEach === 1 ? "one turn" : `${turnsEach} turns`}, every contender once in each. ${named.join(", ")}.

${quietness(results)}

${peersSection(results).trimEnd()}

What to keep in mind: a pool within one program on one machine loses everything with that program, while everycore stores every outcome in a log before it counts and survives the death of each of its processes; that costs what the tables show. A contender marked with a number of items did only so many no-ops, because all of them would have taken minutes; the time per item counts. \`Pool.map\` and HyperQueue's Python interface give all results at once: their first is their last. GNU parallel, xargs and HyperQueue start a process for each item and so take part only where the items are programs.`;
}

/** How much of the cores the bare loops got, by what their items are calibrated to: the measure of the measurement. */
function quietness({ turns, slots }: Results["peers"]): string {
  const shares = turns.flatMap(({ workload, bare }) => {
    const itemMs = workloads.find(({ name }) => name === workload)?.itemMs;
    if (bare === undefined || itemMs === undefined) return [];
    return [itemMs.reduce((sum, ms) => sum + ms, 0) / 1_000 / slots / bare.seconds];
  });
  if (shares.length === 0) return "";
  const [least, middle, most] = [0, 0.5, 1].map((share) => percentile(shares, share));
  const text = (share = Number.NaN): string => (100 * share).toFixed(0);
  const told = `The bare loops got ${text(middle)} % of the cores in the median (${text(least)} .. ${text(most)} %).`;
  return middle! > 0.8
    ? told
    : `${told} **The machine was busy with other work during this run: neither times nor shares here say what they should, and only large differences mean anything. To be measured again on a quiet machine.**`;
}

function figuresPart(figures: readonly MeasuredFigure[]): string {
  const rows = figures.flatMap(({ result, run }) =>
    result.rows.map(({ what, target, measured, ratio, spread }) => [
      what,
      target,
      measured,
      ratio === null || Number.isNaN(ratio) ? "" : ratio.toFixed(2),
      spread,
      String(result.turns ?? run.repeat),
      run.startedAt.slice(0, 10),
    ]),
  );
  const run = newest("figures")!; // whatever it could measure
  const header = ["figure", "target", "measured", "ratio", "spread", "repetitions", "on"];
  return `## ${titles.figures}

${machineText(run)} for the newest of them. The whole cluster shares the cores with its workers. A ratio of 1 or more is good, whatever the unit.

${markdownTable(header, rows)}`;
}

function scalePart(results: Results["scale"]): string {
  return `## ${titles.scale}

One coordinator and one nats-server, with so many simulated agents on the same machine: ${machineText(results)}. They take most of its CPU themselves, so at the upper end the times say how busy the machine was, and the CPU columns what the coordinator needs. Columns are explained in [bench/README.md](../bench/README.md#many-agents).

${markdownTable(scaleHeader, results.levels.map(rowOf))}`;
}
