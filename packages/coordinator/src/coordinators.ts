/** This coordinator among the others: who leads, whom else callers may ask, and the way to the leader. */
import { setTimeout as delay } from "node:timers/promises";
import type { NatsConnection } from "@nats-io/nats-core";
import { Forwarder } from "./control/forward.ts";
import type { Peer } from "./data/peers.ts";
import { Peers } from "./data/peers.ts";

/** Whoever asks who leads is answered within this time, whatever NATS does. */
const answerMs = 1_000;

export interface CoordinatorsOptions {
  readonly nats: NatsConnection;
  readonly version: string;
  /** We lead and know all jobs. */
  readonly isLeading: () => boolean;
  /** Address of whoever leads as EC_LEADER has it, or "". */
  readonly leader: () => Promise<string>;
  readonly onMalformed: () => void;
  /** Somebody came or is gone: all, each once. */
  readonly onAddresses: (addresses: readonly string[]) => void;
}

export class Coordinators {
  readonly forwarder: Forwarder;
  readonly #options: CoordinatorsOptions;
  readonly #peers: Peers;
  #address = "";
  /** As `onAddresses` was told last. */
  #told = "";

  constructor(options: CoordinatorsOptions) {
    this.#options = options;
    const { nats, version, isLeading, onMalformed } = options;
    this.forwarder = new Forwarder({
      isLeading,
      leader: () => this.leader(),
      ownAddress: () => this.#address,
      heardSince: (address, since) => this.#peers.isLeadingSince(address, since),
    });
    const onChange = (): void => void this.forwarder.leaderChanged();
    const onHeard = (): void => this.#tellAddresses();
    this.#peers = new Peers({ nats, version, isLeading, onChange, onHeard, onMalformed });
  }

  start(address: string): void {
    this.#address = address;
    this.#peers.start(address);
  }

  get isLeading(): boolean {
    return this.#options.isLeading();
  }

  /** The leader first. */
  get all(): readonly Peer[] {
    return this.#peers.all;
  }

  /** Of all, each once: two behind one service advertise the same. */
  get addresses(): readonly string[] {
    return [...new Set(this.#peers.all.map(({ address }) => address))];
  }

  #tellAddresses(): void {
    const { addresses } = this;
    const text = addresses.toSorted().join(",");
    if (text === this.#told) return;
    this.#told = text;
    this.#options.onAddresses(addresses);
  }

  /** Address of whoever leads; "" also when NATS does not answer in time. */
  leader(): Promise<string> {
    if (this.isLeading) return Promise.resolve(this.#address);
    return Promise.race([this.#options.leader(), delay(answerMs, "", { ref: false })]);
  }

  /** Our term began or is over; the others need not wait for the next second to hear of it. */
  leadChanged(): void {
    this.#peers.announce();
    void this.forwarder.leaderChanged();
  }

  close(): void {
    this.#peers.close();
    this.forwarder.close();
  }
}
