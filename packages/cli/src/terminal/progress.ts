/**
 * Progress of a job on stderr, one line rewritten at most five times a second, only on a terminal. The line is text
 * of the numbers and the clock alone, so that it can be tested; the writer knows when to show it.
 */
import { countText, durationText } from "./table.ts";

export interface ProgressCounts {
  readonly done: number;
  /** undefined while the input is open. */
  readonly total: number | undefined;
  readonly failed: number;
}

/** `1,200/10,000 12 % · 340/s · 26 s left · 3 failed` */
export function progressText(
  counts: ProgressCounts,
  options: { elapsedMs: number; columns: number },
): string {
  const { done, total, failed } = counts;
  const perSecond = options.elapsedMs > 0 ? (done / options.elapsedMs) * 1_000 : 0;
  const parts = [
    total === undefined
      ? `${countText(done)} done`
      : `${countText(done)}/${countText(total)} ${total === 0 ? 100 : Math.floor((100 * done) / total)} %`,
  ];
  if (done > 0) parts.push(`${perSecond >= 10 ? countText(Math.round(perSecond)) : perSecond.toFixed(1)}/s`);
  if (total !== undefined && done > 0 && done < total)
    parts.push(`${durationText(((total - done) / perSecond) * 1_000)} left`);
  if (failed > 0) parts.push(`${countText(failed)} failed`);
  return parts.join(" · ").slice(0, Math.max(10, options.columns - 1));
}

const showEveryMs = 200;

export class Progress implements Disposable {
  readonly #isShown: boolean;
  readonly #startedAt = performance.now();
  #lastAt = 0;
  #isLineOpen = false;

  constructor(options: { quiet: boolean }) {
    this.#isShown = !options.quiet && process.stderr.isTTY;
  }

  update(counts: ProgressCounts): void {
    const now = performance.now();
    if (!this.#isShown || now - this.#lastAt < showEveryMs) return;
    this.#lastAt = now;
    const text = progressText(counts, { elapsedMs: now - this.#startedAt, columns: process.stderr.columns });
    process.stderr.write(`\r${text}\u001B[K`);
    this.#isLineOpen = true;
  }

  /** Takes the line away, so that what is said next stands alone. */
  clear(): void {
    if (!this.#isLineOpen) return;
    process.stderr.write("\r\u001B[K");
    this.#isLineOpen = false;
  }

  [Symbol.dispose](): void {
    this.clear();
  }
}
