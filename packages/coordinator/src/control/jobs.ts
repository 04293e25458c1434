/** JobService: each RPC as a few lines over the core's views, the log's reader and asks of the core. */
import { setTimeout as delay } from "node:timers/promises";
import type { BundleDigest, JobId } from "@everycore/protocol";
import {
  EverycoreError,
  isBundleDigest,
  isEnded,
  jobStates,
  limits,
  parseRepairCode,
} from "@everycore/protocol";
import { explainJob, jobViews } from "../core/index.ts";
import { jobKey } from "../effects.ts";
import { readForView } from "./folded-job.ts";
import type { ItemRequest } from "./item-input.ts";
import { bundleBytes, itemInput } from "./item-input.ts";
import { jobInfo } from "./job-info.ts";
import type { ControlParts } from "./parts.ts";
import { findJob, localUser, viewOf } from "./parts.ts";
import type { ResultsRequest } from "./results.ts";
import { audit, output, results } from "./results.ts";
import type { Handlers, Message } from "./handlers.ts";
import { download, duplex, here, unary, upload } from "./handlers.ts";
import type { SubmitRequest } from "./submit.ts";
import { mustHaveBundle, submit } from "./submit.ts";

const watchMs = 200;
const uploadsMax = 2;
const listMax = 1_000;

interface JobRequest {
  readonly job: string;
}
interface PutBundleRequest {
  readonly head?: { readonly digest: string; readonly bytes: number };
  readonly data?: Buffer;
}

function digestOf(text: string): BundleDigest {
  if (isBundleDigest(text)) return text;
  throw new EverycoreError("bad-input", "a bundle's digest is 64 digits 0-9 a-f");
}

export function jobHandlers(parts: ControlParts): Handlers {
  const info = (id: JobId): Message => jobInfo(viewOf(parts, id));
  const ask = async (send: (ask: number) => void): Promise<void> => {
    await parts.asks.ask(send);
  };
  const command = async (
    kind: "pauseAsked" | "resumeAsked" | "deleteAsked",
    typed: string,
  ): Promise<JobId> => {
    const job = findJob(parts, typed);
    await ask((number) => parts.enqueue({ kind, job, ask: number }));
    return job;
  };
  return {
    StatBundle: here(
      unary(async ({ digest }: { digest: string }) => ({
        present: await parts.bundles.has(localUser, digestOf(digest)),
      })),
    ),
    // The leader's: to make room one must know which bundles are used.
    PutBundle: upload(bundleUpload(parts)),
    GetBundle: here(
      download<{ digest: string }>(({ digest }, writing) => bundleBytes(parts, digestOf(digest), writing)),
    ),
    Submit: duplex<SubmitRequest>((stream) => submit(parts, stream)),
    Get: unary(async ({ job, explain }: JobRequest & { explain: boolean }, signal) => {
      const id = findJob(parts, job);
      await readForView(parts, id, signal);
      return explain ? { ...info(id), explanation: { lines: explainJob(parts.state, id) } } : info(id);
    }),
    List: unary(async (request: { state: string; limit: number }) => list(parts, request)),
    Watch: download<JobRequest>(async ({ job }, writing) => {
      const id = findJob(parts, job);
      await readForView(parts, id, writing.signal);
      using following = parts.changes.follow(jobKey(id), writing.signal);
      for (;;) {
        const seen = following.version();
        parts.mustLead();
        const view = viewOf(parts, id);
        await writing.write(jobInfo(view));
        if (isEnded(view.state) || writing.signal.aborted) return;
        await delay(watchMs, undefined, { signal: writing.signal }).catch(() => {}); // gone: the next look ends it
        await following.changed(seen);
      }
    }),
    Results: download<ResultsRequest>((request, writing) => results(parts, request, writing)),
    Item: download<ItemRequest>((request, writing) => itemInput(parts, request, writing)),
    Output: download<JobRequest>(({ job }, writing) => output(parts, job, writing)),
    Cancel: unary(async ({ job, reason }: JobRequest & { reason: string }) => {
      const id = findJob(parts, job);
      const message = reason === "" ? "cancelled by its user" : reason;
      await ask((number) => parts.enqueue({ kind: "cancelAsked", job: id, message, ask: number }));
      return info(id);
    }),
    Pause: unary(async ({ job }: JobRequest) => info(await command("pauseAsked", job))),
    Resume: unary(async ({ job }: JobRequest) => info(await command("resumeAsked", job))),
    Retry: unary(async ({ job: typed, code: given }: JobRequest & { code: unknown }) => {
      const job = findJob(parts, typed);
      const code = given === null || given === undefined ? undefined : parseRepairCode(given);
      await mustHaveBundle(parts, code?.bundle);
      await ask((number) => parts.enqueue({ kind: "retryAsked", job, ask: number, code }));
      return info(job);
    }),
    Delete: unary(async ({ job }: JobRequest) => ({ job: await command("deleteAsked", job) })),
    Audit: unary(async ({ job }: JobRequest, signal) => audit(parts, job, signal)),
  };
}

function list(parts: ControlParts, request: { state: string; limit: number }): Message {
  parts.mustLead();
  const { state, limit } = request;
  if (state !== "" && !jobStates.some((known) => known === state)) {
    throw new EverycoreError("bad-input", `"${state}" is not a state of jobs: ${jobStates.join(", ")}`);
  }
  const views = jobViews(parts.state).filter((view) => state === "" || view.state === state);
  const shown = views.slice(0, limit === 0 ? listMax : Math.min(limit, listMax));
  return { jobs: shown.map(jobInfo), total: views.length };
}

/** A bundle is held whole while its digest is checked; two at once at most (P7). */
function bundleUpload(parts: ControlParts): (requests: AsyncIterable<PutBundleRequest>) => Promise<Message> {
  let uploads = 0;
  return async (requests) => {
    if (uploads >= uploadsMax) {
      throw new EverycoreError("unreachable", "too many bundles are being uploaded", {
        hint: "try again in a moment",
      });
    }
    uploads += 1;
    try {
      let digest: BundleDigest | undefined;
      let size = 0;
      let received = 0;
      const chunks: Buffer[] = [];
      for await (const { head, data } of requests) {
        if (head) {
          digest = digestOf(head.digest);
          size = head.bytes;
          if (size > limits.bundleBytesMax) {
            throw new EverycoreError(
              "over-limit",
              `a bundle may have at most ${limits.bundleBytesMax} bytes, not ${size}`,
            );
          }
        } else if (data) {
          received += data.length;
          if (received > size)
            throw new EverycoreError("bad-input", `the bundle is longer than the ${size} bytes announced`);
          chunks.push(data);
        }
      }
      if (digest === undefined)
        throw new EverycoreError("bad-input", "an upload begins with the bundle's digest and size");
      if (received !== size)
        throw new EverycoreError("bad-input", `the bundle ended after ${received} of ${size} bytes`);
      await parts.bundles.put(localUser, digest, Buffer.concat(chunks));
      return { digest };
    } finally {
      uploads -= 1;
    }
  };
}
