/** A running job on one screen, for `job watch`: made of what the cluster says of it, and of the pace seen here. */
import type { JobInfo } from "@everycore/client/internal";
import { isEnded, shortId } from "@everycore/protocol";
import type { Pace } from "./pace.ts";
import { countsOf, leftText, progressText, rateText } from "./progress.ts";
import { kindsOf } from "./summary.ts";
import { countText, durationText, fields, table } from "./table.ts";

const barCells = 30;
const nodesShown = 12;

export interface WatchClock {
  readonly now: number;
  /** Of the same clock as the pace. */
  readonly at: number;
}

export function watchScreen(info: JobInfo, pace: Pace, clock: WatchClock): string {
  const { done, total } = countsOf(info);
  const isOver = isEnded(info.state);
  const left = total === undefined || isOver || info.state === "paused" ? 0 : total - done;
  const estimate = pace.estimate(clock.at, left);
  const kinds = kindsOf(info);
  const ranFor = (info.endedAt === 0 ? clock.now : info.endedAt) - info.startedAt;
  const text = fields([
    ["job", `${shortId(info.id)} ${info.name}`.trimEnd()],
    ["state", info.reason === "" ? info.state : `${info.state} (${info.reason})`],
    [
      "items",
      total === undefined ? `${countText(done)} of ${countText(info.appended)} so far` : barText(done, total),
    ],
    ["outcomes", `${countText(info.counts?.value ?? 0)} value${kinds === "" ? "" : `, ${kinds}`}`],
    [
      "pace",
      isOver
        ? ""
        : [rateText(pace.perSecond(clock.at)), ...(estimate === undefined ? [] : [leftText(estimate)])].join(
            ", ",
          ),
    ],
    ["ran for", info.startedAt === 0 ? "" : durationText(ranFor)],
    ["leased", isOver ? "" : `${countText(info.leased)} items`],
    ["trouble", info.retries + info.strikes === 0 ? "" : `${info.retries} retries, ${info.strikes} strikes`],
  ]);
  return info.usage.length === 0 ? text : `${text}\n${nodesText(info)}`;
}

/** `[######------] 50 %  5,000/10,000` */
function barText(done: number, total: number): string {
  const share = total === 0 ? 1 : done / total;
  const full = Math.floor(share * barCells);
  return `[${"#".repeat(full)}${"-".repeat(barCells - full)}] ${Math.floor(share * 100)} %  ${countText(done)}/${countText(total)}`;
}

function nodesText(info: JobInfo): string {
  const rows = info.usage
    .map(({ node, host, slots }) => ({
      node,
      host,
      slots: slots.length,
      items: slots.reduce((sum, slot) => sum + slot.items, 0),
      busyMs: slots.reduce((sum, slot) => sum + slot.busyMs, 0),
      cpuMs: slots.reduce((sum, slot) => sum + slot.cpuMs, 0),
    }))
    .sort((a, b) => b.items - a.items);
  const shown = rows
    .slice(0, nodesShown)
    .map((row) => [
      shortId(row.node),
      row.host,
      String(row.slots),
      countText(row.items),
      row.items === 0 ? "" : durationText(row.busyMs / row.items),
      durationText(row.busyMs),
      durationText(row.cpuMs),
    ]);
  const more = rows.length > nodesShown ? `${rows.length - nodesShown} more nodes\n` : "";
  return `${table(["NODE", "HOST", "SLOTS", "ITEMS", "EACH", "BUSY", "CPU"], shown)}${more}`;
}

/** `job 1a2b3c4d running: 1,200/10,000 12 % · 340/s · 26.1 s left` */
export function watchLine(info: JobInfo, pace: Pace, at: number): string {
  const counts = countsOf(info);
  const left = counts.total === undefined || info.state === "paused" ? 0 : counts.total - counts.done;
  const reason = info.reason === "" ? "" : ` (${info.reason})`;
  const text = progressText(counts, { perSecond: pace.perSecond(at), estimate: pace.estimate(at, left) });
  return `job ${shortId(info.id)} ${info.state}${reason}: ${text}\n`;
}
