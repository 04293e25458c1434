/** What the fetches of agents need to know of jobs, from the loop that has folded them. */
import type { Changes } from "./changes.ts";
import { logEndOf } from "./core/index.ts";
import type { FetchOptions } from "./data/fetch.ts";
import { jobKey } from "./effects.ts";
import type { Loop } from "./loop.ts";

/** A fetch waits so long for the reader's fold. */
const catchUpMs = 2_000;

export function fetchedJobs(
  loop: Loop,
  changes: Changes,
): Pick<FetchOptions, "jobOf" | "caughtUp" | "onOverLimit"> {
  return {
    jobOf: (id) => {
      const job = loop.state.jobs.get(id);
      if (job === undefined) return undefined;
      const { user, spec, repairs, segment, fold } = job;
      return { user, spec, repairs, segment, total: fold.total, seq: logEndOf(job) };
    },
    caughtUp: async (id, isReached) => {
      const late = AbortSignal.timeout(catchUpMs);
      using following = changes.follow(jobKey(id), late);
      while (!isReached() && !late.aborted) await following.changed(following.version());
      return isReached();
    },
    onOverLimit: (job, message) => loop.enqueue({ kind: "reductionRefused", job, message }),
  };
}
