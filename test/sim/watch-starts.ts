/** P3, seen from where items run: what runs is not run again without a reason that somebody can name. */
import type { JobId, LeaseId } from "@everycore/protocol";
import type { NaiveItem } from "../../packages/protocol/test/support/naive-fold.ts";
import type { Client } from "./client.ts";
import { must } from "./breach.ts";
import type { ItemStart } from "./worker.ts";

/** An agent, and which of its lives. */
interface Life {
  readonly life: number;
}

/** Of an item: how often it was started, and how often agent or worker died while its outcome stood in no file. */
interface Starts {
  count: number;
  deaths: number;
  agent: Life;
  life: number;
  worker: ItemStart["worker"];
  isRecorded: boolean;
}

/** Of an item under one lease: by whom it was last started. */
interface Run {
  readonly agent: Life;
  readonly life: number;
  readonly worker: ItemStart["worker"];
  isRecorded: boolean;
}

export class StartWatch {
  readonly #clients: ReadonlyMap<JobId, Client>;
  readonly #itemOf: (job: JobId, index: number) => NaiveItem;
  /** Every start is counted only where agents keep what they have. */
  readonly #isGentle: boolean;
  readonly #isAllowed: (lease: LeaseId, index: number) => boolean;
  readonly #timesDoubled: (job: JobId, index: number) => number;
  readonly #starts = new Map<JobId, Map<number, Starts>>();
  readonly #runs = new Map<LeaseId, Map<number, Run>>();

  constructor(options: {
    clients: ReadonlyMap<JobId, Client>;
    itemOf: (job: JobId, index: number) => NaiveItem;
    isGentle: boolean;
    /** False: the item is under suspicion, and its start was not announced. */
    isAllowed: (lease: LeaseId, index: number) => boolean;
    timesDoubled: (job: JobId, index: number) => number;
  }) {
    this.#clients = options.clients;
    this.#itemOf = options.itemOf;
    this.#isGentle = options.isGentle;
    this.#isAllowed = options.isAllowed;
    this.#timesDoubled = options.timesDoubled;
  }

  started(agent: Life, start: ItemStart): void {
    this.#judgeLease(agent, start);
    const { index, file } = start;
    const { job } = file;
    const of = this.#starts.get(job) ?? new Map<number, Starts>();
    this.#starts.set(job, of);
    const before = of.get(index);
    // Not all of them are strikes: a worker that is ended for one item may run the next when it dies; and killed within
    // the 2 ms in which a limit is lowered and not read yet, an agent does not strike its item.
    const isGone = before !== undefined && (before.agent.life !== before.life || !before.worker.isAlive);
    // Dropped by its leader, it was running all the same.
    const hasDied = isGone && !before.isRecorded && !before.worker.isDropped;
    const count = (before?.count ?? 0) + 1;
    const deaths = (before?.deaths ?? 0) + (hasDied ? 1 : 0);
    of.set(index, { count, deaths, agent, life: agent.life, worker: start.worker, isRecorded: false });
    const client = this.#clients.get(job);
    if (!this.#isGentle || client === undefined || client.plan.spec.task.reduce !== undefined) return;
    const { agains, round } = this.#itemOf(job, index);
    // A strike is none: a leader that strikes what runs has not kept it.
    const reasons = agains + deaths + this.#timesDoubled(job, index);
    // A new round clears the item's history; what it cost before is not known any more.
    if (round > 0) return;
    must(
      count <= 1 + reasons,
      "P3",
      () => `item ${index} of ${job} was started ${count} times for ${reasons} reasons`,
    );
  }

  /** Whatever else happens: under one lease an agent runs an item again only when the worker that ran it is dead. */
  #judgeLease(agent: Life, { index, file, worker }: ItemStart): void {
    const isAllowed = this.#isAllowed(file.grant.id, index);
    const repair = this.#clients.get(file.job)?.plan.repair ?? "";
    const code = file.grant.round === 0 ? "" : repair;
    must(worker.code === code, "P2", () => {
      return `item ${index} of ${file.job} runs the code "${worker.code}" in round ${file.grant.round}`;
    });
    must(isAllowed, "P4", () => `item ${index} of ${file.job}, which nodes died of, starts unannounced`);
    const of = this.#runs.get(file.grant.id) ?? new Map<number, Run>();
    this.#runs.set(file.grant.id, of);
    const before = of.get(index);
    of.set(index, { agent, life: agent.life, worker, isRecorded: false });
    if (before === undefined || before.agent !== agent || before.life !== agent.life) return;
    const told = (): string => `item ${index} of ${file.job} was started again under lease ${file.grant.n}`;
    must(!before.worker.isAlive, "P3", () => `${told()} while its worker lives`);
    must(!before.isRecorded, "P3", () => `${told()} although its outcome stands in a file`);
  }

  recorded({ index, file }: ItemStart): void {
    const run = this.#runs.get(file.grant.id)?.get(index);
    if (run !== undefined) run.isRecorded = true;
    const starts = this.#starts.get(file.job)?.get(index);
    if (starts !== undefined) starts.isRecorded = true;
  }
}
