/**
 * Leases as they come in from NATS and until they are forgotten: parsed, answered with the core's word, their
 * inputs fetched. Keeps the messages whole, of which the core knows only what it decides by (lease-facts.ts).
 */
import type { Msg } from "@nats-io/nats-core";
import type { JobId, LeaseId, LeaseMessage, LeaseReply, NodeId, TaskSpec } from "@everycore/protocol";
import { decodeLease, encodeLeaseReply, EverycoreError } from "@everycore/protocol";
import type { Logger } from "pino";
import type { AgentEvent } from "../core/index.ts";
import { isOutOfSpace } from "../machine/facts.ts";
import type { Inputs } from "./inputs.ts";
import { BundleFailure } from "./inputs.ts";
import { factsOf } from "./lease-facts.ts";

export interface LeaseDeskOptions {
  readonly node: NodeId;
  readonly inputs: Inputs;
  readonly log: Logger;
  readonly emit: (event: AgentEvent) => void;
  /** The core has accepted this lease, now or before: a resend is not taken up again. */
  readonly isSeen: (lease: LeaseId) => boolean;
}

export class LeaseDesk {
  /** Messages that were refused as malformed. */
  malformed = 0;
  readonly #options: LeaseDeskOptions;
  readonly #leases = new Map<LeaseId, { message: LeaseMessage; fetch: AbortController }>();
  /** Of the newest round: an older one may be late, with code that was replaced. */
  readonly #tasks = new Map<JobId, { task: TaskSpec; round: number }>();
  readonly #answers = new Map<number, Msg>();
  #asks = 0;

  constructor(options: LeaseDeskOptions) {
    this.#options = options;
  }

  arrived(raw: Msg): void {
    const { node, inputs, log, emit, isSeen } = this.#options;
    let message: LeaseMessage;
    let isNew = false;
    let ready = true;
    try {
      message = decodeLease(raw.data);
      if (message.grant.node !== node) {
        throw new EverycoreError("bad-input", `a lease of node ${message.grant.node}`);
      }
      isNew = !isSeen(message.grant.id);
      if (isNew) ready = inputs.takeReady(message);
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      this.malformed += 1;
      log.warn({ reason }, "malformed lease refused");
      raw.respond(encodeLeaseReply({ ok: false, reason: "malformed", message: reason }));
      return;
    }
    const { grant, job, task } = message;
    if (isNew) {
      this.#leases.set(grant.id, { message, fetch: new AbortController() });
      if (grant.round >= (this.#tasks.get(job)?.round ?? 0))
        this.#tasks.set(job, { task, round: grant.round });
    }
    this.#asks += 1;
    this.#answers.set(this.#asks, raw);
    emit({ kind: "leaseArrived", at: performance.now(), lease: factsOf(message), ask: this.#asks, ready });
    // The core has refused it.
    if (!isSeen(grant.id)) this.forget(grant.id);
  }

  answer(ask: number, reply: LeaseReply): void {
    this.#answers.get(ask)?.respond(encodeLeaseReply(reply));
    this.#answers.delete(ask);
  }

  /** Fetches bundle and inputs of a lease, then says so; a forgotten lease is no longer fetched. */
  fetch(job: JobId, id: LeaseId): void {
    const { inputs, log, emit } = this.#options;
    const lease = this.#leases.get(id);
    if (lease === undefined) return;
    inputs.fetch(lease.message, lease.fetch.signal).then(
      () => emit({ kind: "inputReady", at: performance.now(), job, lease: id }),
      (error: unknown) => {
        if (lease.fetch.signal.aborted) return;
        const message = error instanceof Error ? error.message : String(error);
        const bundle = error instanceof BundleFailure;
        log.warn({ job, lease: id, reason: message }, "input could not be fetched");
        if (isOutOfSpace(error)) emit({ kind: "diskLevel", at: performance.now(), level: "full" }); // until the next look
        emit({ kind: "inputFailed", at: performance.now(), job, lease: id, bundle, message });
      },
    );
  }

  message(id: LeaseId): LeaseMessage | undefined {
    return this.#leases.get(id)?.message;
  }

  task(job: JobId): TaskSpec | undefined {
    return this.#tasks.get(job)?.task;
  }

  usesBundle(digest: string): boolean {
    return [...this.#tasks.values()].some(({ task }) => task.bundle === digest);
  }

  forget(id: LeaseId): void {
    this.#leases.get(id)?.fetch.abort();
    this.#leases.delete(id);
    this.#options.inputs.forget(id);
  }

  forgetTask(job: JobId): void {
    this.#tasks.delete(job);
  }

  /** Nothing is fetched any more. */
  close(): void {
    for (const lease of this.#leases.values()) lease.fetch.abort();
  }
}
