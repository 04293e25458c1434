/** Outcomes as `map` prints them: lines while they come, or the one value of a reduction. */
import type { Outcome, OutcomeList } from "@everycore/client/internal";
import { errorText, resultLine, valueLine, valueText } from "./result-line.ts";
import type { Sink } from "./sink.ts";
import type { FirstFailure } from "./summary.ts";

/** Lines of outcomes, flushed in big chunks while they come fast and at once while they trickle. */
export function printerOf(
  sink: Sink,
  options: { valuesOnly: boolean; first: FirstFailure },
): (outcomes: OutcomeList) => Promise<void> {
  const { valuesOnly, first } = options;
  return async (outcomes) => {
    for (const outcome of outcomes) {
      first.note(outcome);
      if (valuesOnly && !outcome.isValue) continue;
      if (sink.add(valuesOnly ? valueLine(outcome) : resultLine(outcome))) await sink.flush();
    }
    await sink.flush();
  };
}

/** The combination of all values; `missing` items have none. */
export function reductionLine(
  outcome: Outcome,
  { missing, valuesOnly }: { missing: number; valuesOnly: boolean },
): string {
  if (outcome.isValue && valuesOnly) return valueLine(outcome);
  const part = outcome.isValue ? `"value":${valueText(outcome)}` : `"error":${errorText(outcome)}`;
  return `{${part},"missing":${missing}}\n`;
}

/** Of no items at all. */
export const emptyReductionLine = '{"value":null,"missing":0}\n';
