/** What a worker here has written of an item, as the outcome that the cluster would tell of it. */
import { Outcome } from "@everycore/client/internal";
import type { DeathDetail, SlotRecord } from "@everycore/protocol";
import { codecs, encodeErrorInfo, outcomeStatus } from "@everycore/protocol";

export const outcomeOf = ({ index, status, codec, micros, payload }: SlotRecord): Outcome =>
  new Outcome({ index, status, codec, micros, payload, node: "" });

/** Its worker died while it ran. */
export function crashOutcome(index: number, death: DeathDetail, times: "" | " twice"): Outcome {
  const { signal, exitCode, reason, stderrTail } = death;
  const how = reason ?? (signal === undefined ? `exit code ${exitCode ?? 0}` : `killed by ${signal}`);
  const message = `the worker died${times} while it ran this item: ${how}`;
  return failedOutcome(index, "crash", {
    message,
    ...(signal === undefined ? {} : { signal }),
    ...(exitCode === undefined ? {} : { exitCode }),
    ...(stderrTail === undefined ? {} : { stderrTail }),
  });
}

export function failedOutcome(
  index: number,
  status: "crash" | "timeout" | "error",
  detail: { message: string; signal?: string; exitCode?: number; stderrTail?: string },
): Outcome {
  const payload = encodeErrorInfo({ kind: status, name: status, ...detail });
  return new Outcome({
    index,
    status: outcomeStatus[status],
    codec: codecs.error,
    micros: 0,
    payload,
    node: "",
  });
}
