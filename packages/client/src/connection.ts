/**
 * The calls of a cluster, one method each: what the command and `Cluster` are made of. One object per connection;
 * closing it ends every call. Jobs may be named by a unique prefix of their id: the coordinator resolves it.
 */
import { EverycoreError, isEnded } from "@everycore/protocol";
import type { BundleDigest } from "@everycore/protocol";
import type { Bundle } from "./bundle/archive.ts";
import { codeFields } from "./bundle/task.ts";
import type { TaskCode } from "./bundle/task.ts";
import { Channel } from "./channel.ts";
import type { CallOptions, ChannelOptions } from "./channel.ts";
import { readBundle, readItemInput } from "./item-input.ts";
import type { ItemInput } from "./item-input.ts";
import { Results } from "./results.ts";
import type { ResultsOptions } from "./results.ts";
import { Submission } from "./submission.ts";
import type { SubmitOptions } from "./submission.ts";
import { SubmitTracing } from "./tracing.ts";
import type { SubmitTracingOptions } from "./tracing.ts";
import type {
  AuditInfo,
  ClusterStatus,
  CoordinatorInfo,
  ExplainedJob,
  JobInfo,
  NodeInfo,
  OutputChunk,
} from "./wire-types.ts";

const uploadPieceBytes = 512 * 1024;

export interface WaitOptions extends CallOptions {
  /** Ends the wait with `timeout`, ms. Default: as long as it takes. */
  readonly timeoutMs?: number;
}

interface Members {
  readonly nodes: readonly NodeInfo[];
  readonly coordinators: readonly CoordinatorInfo[];
}

export class Connection implements AsyncDisposable {
  readonly #channel: Channel;
  readonly #tracing: SubmitTracing;
  readonly #closing = new AbortController();

  /** Nothing is sent before the first call. */
  constructor(options: ChannelOptions & SubmitTracingOptions) {
    this.#channel = new Channel(options);
    this.#tracing = new SubmitTracing(options);
  }

  get address(): string {
    return this.#channel.address;
  }

  /** Uploads the bundle unless this user has it there already. */
  async putBundle(bundle: Bundle, options: CallOptions = {}): Promise<void> {
    const call = this.#call(options);
    const { digest } = bundle;
    const { present } = await this.#channel.ask<{ present: boolean }>(
      "JobService",
      "StatBundle",
      { digest },
      call,
    );
    if (present) return;
    await this.#channel.patiently(
      () => this.#channel.upload("JobService", "PutBundle", piecesOf(bundle), call),
      call,
    );
  }

  /** A bundle's bytes, checked by its digest. */
  getBundle(digest: BundleDigest, options: CallOptions = {}): Promise<Buffer> {
    const call = this.#call(options);
    return this.#channel.patiently(() => readBundle(this.#channel, digest, call), call);
  }

  /** One item as it was submitted, with its job's specification. */
  itemInput(job: string, index: number, options: CallOptions = {}): Promise<ItemInput> {
    const call = this.#call(options);
    return this.#channel.patiently(() => readItemInput(this.#channel, { job, index }, call), call);
  }

  /** Begins a submit; it goes on by itself, `accepted` and `closed` tell how far it is. */
  submit(options: SubmitOptions): Submission {
    return new Submission(this.#channel, this.#tracing, { ...options, ...this.#call(options) });
  }

  results(job: string, options: ResultsOptions = {}): Results {
    return new Results(this.#channel, job, { ...options, ...this.#call(options) });
  }

  getJob(job: string, options: CallOptions = {}): Promise<JobInfo> {
    return this.#channel.ask("JobService", "Get", { job }, this.#call(options));
  }

  explainJob(job: string, options: CallOptions = {}): Promise<ExplainedJob> {
    return this.#channel.ask("JobService", "Get", { job, explain: true }, this.#call(options));
  }

  async listJobs(
    filter: { state?: string; limit?: number } = {},
    options: CallOptions = {},
  ): Promise<{ jobs: readonly JobInfo[]; total: number }> {
    const request = { state: filter.state ?? "", limit: filter.limit ?? 0 };
    return this.#channel.ask("JobService", "List", request, this.#call(options));
  }

  /** The job now, and whenever it changed, until it has ended. */
  async *watchJob(job: string, options: CallOptions = {}): AsyncGenerator<JobInfo> {
    const call = this.#call(options);
    const patience = this.#channel.patience(call);
    for (;;) {
      try {
        for await (const info of this.#channel.stream<JobInfo>("JobService", "Watch", { job }, call)) {
          patience.reset();
          yield info;
          if (isEnded(info.state)) return;
        }
        throw new EverycoreError(
          "unreachable",
          `the coordinator at ${this.address} ended the watch of job ${job} early`,
        );
      } catch (error) {
        await patience.after(error);
      }
    }
  }

  /** Resolves with the job once it has ended. */
  async waitJob(job: string, options: WaitOptions = {}): Promise<JobInfo> {
    const { timeoutMs } = options;
    const limit = timeoutMs === undefined ? undefined : AbortSignal.timeout(timeoutMs);
    const signals = [options.signal, limit].filter((signal) => signal !== undefined);
    try {
      for await (const info of this.watchJob(job, { signal: AbortSignal.any(signals) })) {
        if (isEnded(info.state)) return info;
      }
    } catch (error) {
      if (limit?.aborted !== true || options.signal?.aborted === true) throw error;
      throw new EverycoreError("timeout", `job ${job} has not ended within ${timeoutMs! / 1000} s`, {
        cause: error,
      });
    }
    throw new EverycoreError("internal", `the watch of job ${job} ended before the job`);
  }

  cancelJob(job: string, reason: string, options: CallOptions = {}): Promise<JobInfo> {
    return this.#channel.ask("JobService", "Cancel", { job, reason }, this.#call(options));
  }

  /** Nothing more of the job is leased; what runs comes to its end. */
  pauseJob(job: string, options: CallOptions = {}): Promise<JobInfo> {
    return this.#channel.ask("JobService", "Pause", { job }, this.#call(options));
  }

  resumeJob(job: string, options: CallOptions = {}): Promise<JobInfo> {
    return this.#channel.ask("JobService", "Resume", { job }, this.#call(options));
  }

  /** Runs the failed items again: a new round, with code of its own if there is some. Asked once: twice would be two rounds. */
  async retryJob(job: string, options: CallOptions & { readonly code?: TaskCode } = {}): Promise<JobInfo> {
    const { code, ...call } = options;
    if (code === undefined) return this.#channel.askOnce("JobService", "Retry", { job }, this.#call(call));
    await this.putBundle(code.bundle, call);
    const { bundle, entry, export: name } = codeFields(code);
    const request = { job, code: { bundle, entry, export: name } };
    return this.#channel.askOnce("JobService", "Retry", request, this.#call(call));
  }

  deleteJob(job: string, options: CallOptions = {}): Promise<{ job: string }> {
    return this.#channel.askOnce("JobService", "Delete", { job }, this.#call(options));
  }

  /** Proves from the log that every item has exactly one outcome (P2). */
  auditJob(job: string, options: CallOptions = {}): Promise<AuditInfo> {
    return this.#channel.ask("JobService", "Audit", { job }, this.#call(options));
  }

  /** What the tasks of a job printed. */
  outputOf(job: string, options: CallOptions = {}): AsyncGenerator<OutputChunk> {
    return this.#channel.stream("JobService", "Output", { job }, this.#call(options));
  }

  async listNodes(options: CallOptions = {}): Promise<readonly NodeInfo[]> {
    return (await this.listMembers(options)).nodes;
  }

  /** Nodes, and the coordinators that they serve. */
  listMembers(options: CallOptions = {}): Promise<Members> {
    return this.#channel.ask("NodeService", "List", {}, this.#call(options));
  }

  getNode(node: string, options: CallOptions = {}): Promise<NodeInfo> {
    return this.#channel.ask("NodeService", "Get", { node }, this.#call(options));
  }

  drainNode(node: string, options: CallOptions = {}): Promise<NodeInfo> {
    return this.#channel.ask("NodeService", "Drain", { node }, this.#call(options));
  }

  /** Takes a drain back, while the node's agent is still there. */
  undrainNode(node: string, options: CallOptions = {}): Promise<NodeInfo> {
    return this.#channel.ask("NodeService", "Undrain", { node }, this.#call(options));
  }

  status(options: CallOptions = {}): Promise<ClusterStatus> {
    return this.#channel.ask("ClusterService", "Status", {}, this.#call(options));
  }

  /** Ends every call at once; spans that wait for their collector have a moment. */
  close(): Promise<void> {
    this.#closing.abort(new EverycoreError("cancelled", "the connection to the cluster was closed"));
    this.#channel.close();
    return this.#tracing.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /** The caller's signal, or our own end. */
  #call(options: CallOptions): { signal: AbortSignal } {
    const closing = this.#closing.signal;
    return { signal: options.signal ? AbortSignal.any([options.signal, closing]) : closing };
  }
}

function* piecesOf({ digest, bytes }: Bundle): Generator<object> {
  yield { head: { digest, bytes: bytes.length } };
  for (let at = 0; at < bytes.length; at += uploadPieceBytes) {
    yield { data: bytes.subarray(at, at + uploadPieceBytes) };
  }
}
