/**
 * Progress of a job on stderr: on a terminal one line, rewritten; in a CI log, or when asked for, a plain line now and
 * then. The text is made of numbers and times alone, so that it can be tested; the writer knows when to show it.
 */
import { endedItems, failedItems } from "@everycore/client/internal";
import type { JobInfo } from "@everycore/client/internal";
import { isEnded } from "@everycore/protocol";
import { isNarrow, Pace } from "./pace.ts";
import type { Estimate } from "./pace.ts";
import { kindsOf } from "./summary.ts";
import { countText, durationText } from "./table.ts";

export const progressChoices = ["auto", "bar", "plain", "none"] as const;
export type ProgressChoice = (typeof progressChoices)[number];
type Style = "bar" | "plain" | "none";

/** What a reader wants where he has not said: a terminal is rewritten, a CI log gets lines, a pipe nothing. */
export function progressStyle(
  choice: ProgressChoice,
  where: { quiet: boolean; isTerminal: boolean; ci: string | undefined },
): Style {
  if (where.quiet) return "none";
  if (choice !== "auto") return choice;
  const isCi = where.ci !== undefined && !["", "0", "false"].includes(where.ci.toLowerCase());
  if (isCi) return "plain";
  return where.isTerminal ? "bar" : "none";
}

export interface ProgressCounts {
  readonly done: number;
  /** undefined while the input is open. */
  readonly total: number | undefined;
  /** What failed, by kind; empty: nothing. */
  readonly failures: string;
  /** What all that is left to do is: comparing items of `--audit`. */
  readonly audit?: string;
}

export const countsOf = (info: JobInfo): ProgressCounts => ({
  done: endedItems(info),
  total: info.total === 0 && !isEnded(info.state) ? undefined : info.total,
  failures: failedItems(info) === 0 ? "" : kindsOf(info),
  ...(isAuditing(info) ? { audit: auditText(info.audit!) } : {}),
});

const isAuditing = (info: JobInfo): boolean =>
  (info.audit?.open ?? 0) > 0 && info.total > 0 && endedItems(info) === info.total;

/** `audit 12/20` */
const auditText = ({ checked, unchecked, open }: NonNullable<JobInfo["audit"]>): string =>
  `audit ${countText(checked + unchecked)}/${countText(checked + unchecked + open)}`;

const percent = (done: number, total: number): number =>
  total === 0 ? 100 : Math.floor((100 * done) / total);

/** `340/s` */
export const rateText = (perSecond: number): string =>
  `${perSecond >= 10 ? countText(Math.round(perSecond)) : perSecond.toFixed(1)}/s`;

/** `20.0 s to 1 min 5 s left` */
export const leftText = (estimate: Estimate): string =>
  isNarrow(estimate)
    ? `${durationText(estimate.latest)} left`
    : `${durationText(estimate.soonest)} to ${durationText(estimate.latest)} left`;

/** `1,200/10,000 12 % · 340/s · 20.0 s to 26.1 s left · 3 error` */
export function progressText(
  counts: ProgressCounts,
  pace: { perSecond: number; estimate: Estimate | undefined },
): string {
  const { done, total, failures, audit } = counts;
  const parts = [
    total === undefined
      ? `${countText(done)} done`
      : `${countText(done)}/${countText(total)} ${percent(done, total)} %`,
  ];
  if (audit !== undefined) parts.push(audit);
  else if (done > 0 && pace.perSecond > 0) parts.push(rateText(pace.perSecond));
  if (total !== undefined && pace.estimate !== undefined) parts.push(leftText(pace.estimate));
  if (failures !== "") parts.push(failures);
  return parts.join(" · ");
}

/** When a plain line is due: at each tenth of the items, or after half a minute; not more than one in two seconds. */
export class PlainLines {
  #at: number;
  #tenth = 0;

  constructor(now: number) {
    this.#at = now;
  }

  isDue(counts: ProgressCounts, now: number): boolean {
    const tenth = counts.total === undefined ? 0 : Math.floor(percent(counts.done, counts.total) / 10);
    const since = now - this.#at;
    if (since < plainAtMostEveryMs || (tenth <= this.#tenth && since < plainAtLeastEveryMs)) return false;
    this.#at = now;
    this.#tenth = Math.max(tenth, this.#tenth);
    return true;
  }
}

const barEveryMs = 200;
const plainAtMostEveryMs = 2_000;
const plainAtLeastEveryMs = 30_000;
const tickMs = 1_000;

export class Progress implements Disposable {
  readonly #style: Style;
  readonly #pace = new Pace();
  readonly #plain = new PlainLines(performance.now());
  readonly #timer: NodeJS.Timeout | undefined;
  #counts: ProgressCounts | undefined;
  #shownAt = 0;
  #isLineOpen = false;

  constructor(style: Style) {
    this.#style = style;
    // A job that stands still is seen to do so.
    if (this.isShown) this.#timer = setInterval(() => this.#show(), tickMs).unref();
  }

  get isShown(): boolean {
    return this.#style !== "none";
  }

  update(info: JobInfo): void {
    if (!this.isShown) return;
    this.#counts = countsOf(info);
    this.#pace.add(performance.now(), this.#counts.done);
    this.#show();
  }

  #show(): void {
    const now = performance.now();
    const counts = this.#counts;
    if (counts === undefined) return;
    if (this.#style === "bar" ? now - this.#shownAt < barEveryMs : !this.#plain.isDue(counts, now)) return;
    this.#shownAt = now;
    const estimate =
      counts.total === undefined ? undefined : this.#pace.estimate(now, counts.total - counts.done);
    const text = progressText(counts, { perSecond: this.#pace.perSecond(now), estimate });
    if (this.#style === "plain") return void process.stderr.write(`${text}\n`);
    process.stderr.write(`\r${text.slice(0, Math.max(10, (process.stderr.columns ?? 80) - 1))}\u001B[K`);
    this.#isLineOpen = true;
  }

  /** Takes the line away, so that what is said next stands alone. */
  clear(): void {
    if (!this.#isLineOpen) return;
    process.stderr.write("\r\u001B[K");
    this.#isLineOpen = false;
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer);
    this.clear();
  }
}
