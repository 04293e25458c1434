/**
 * The coordinators of a cluster, as each tells the others by core NATS: who they are, since when they lead or stand by.
 * For people, and for clients and agents that look for another address. Who leads is read from EC_LEADER and nowhere
 * else: what is heard here moves nothing but the attention of whoever waits for a leader.
 */
import { randomBytes } from "node:crypto";
import { hostname } from "node:os";
import {
  bad,
  count,
  decode,
  encode,
  fieldsOf,
  flag,
  isAddressText,
  limits,
  number,
  subjects,
  text,
  times,
} from "@everycore/protocol";
import type { CoordinatorInfo } from "@everycore/protocol";
import type { NatsConnection } from "@nats-io/nats-core";

export interface Peer extends CoordinatorInfo {
  /** Random per start: two that advertise one address are two. */
  readonly id: string;
}

interface Said extends Peer {
  readonly isGone: boolean;
  /** Wants to hear of the others at once. */
  readonly isNew: boolean;
}

export interface PeersOptions {
  readonly nats: NatsConnection;
  readonly version: string;
  readonly isLeading: () => boolean;
  /** Somebody began to lead, or a leader is gone. */
  readonly onChange: () => void;
  /** One of them has spoken, or a second is over. */
  readonly onHeard: () => void;
  readonly onMalformed: () => void;
}

export class Peers {
  readonly #options: PeersOptions;
  readonly #others = new Map<string, { peer: Peer; heardAt: number }>();
  readonly #id = randomBytes(8).toString("hex");
  readonly #startedAt = Date.now();
  #address = "";
  #wasLeading = false;
  #since = Date.now();
  #timer: NodeJS.Timeout | undefined;

  constructor(options: PeersOptions) {
    this.#options = options;
  }

  /** Begins to listen and to tell of ourselves. */
  start(address: string): void {
    this.#address = address;
    this.#options.nats.subscribe(subjects.coordinator, {
      callback: (error, message) => {
        if (error === null) this.#hear(message.data);
      },
    });
    this.#say({ isNew: true, isGone: false });
    this.#timer = setInterval(() => this.announce(), times.coordinatorSaysMs);
  }

  /** Tells of ourselves now: a term began or is over. */
  announce(): void {
    this.#say({ isNew: false, isGone: false });
    const now = performance.now();
    for (const [id, { heardAt }] of this.#others)
      if (now - heardAt > times.coordinatorGoneMs) this.#others.delete(id);
    this.#options.onHeard();
  }

  /** The others need not wait until our silence tells them. */
  close(): void {
    if (this.#timer === undefined) return;
    clearInterval(this.#timer);
    this.#say({ isNew: false, isGone: true });
  }

  /** Ourselves and all that were heard of lately: the leader first, then by address. */
  get all(): Peer[] {
    const now = performance.now();
    const others = [...this.#others.values()]
      .filter(({ heardAt }) => now - heardAt <= times.coordinatorGoneMs)
      .map(({ peer }) => peer);
    return [this.#self(), ...others].sort(
      (a, b) => Number(b.leading) - Number(a.leading) || (a.address < b.address ? -1 : 1),
    );
  }

  /** Heard of since then (performance.now()), as a leader. */
  isLeadingSince(address: string, since: number): boolean {
    for (const { peer, heardAt } of this.#others.values())
      if (peer.address === address && peer.leading && heardAt >= since) return true;
    return false;
  }

  #self(): Peer {
    const leading = this.#options.isLeading();
    if (leading !== this.#wasLeading) {
      this.#wasLeading = leading;
      this.#since = Date.now();
    }
    return {
      id: this.#id,
      address: this.#address,
      host: hostname(),
      version: this.#options.version,
      leading,
      since: this.#since,
      startedAt: this.#startedAt,
    };
  }

  #say(state: { isNew: boolean; isGone: boolean }): void {
    const { nats } = this.#options;
    if (nats.isClosed() || this.#address === "") return;
    nats.publish(subjects.coordinator, encode({ v: 1, ...this.#self(), ...state }));
  }

  #hear(data: Uint8Array): void {
    let said: Said;
    try {
      said = parsed(data);
    } catch {
      return this.#options.onMalformed();
    }
    const { isGone, isNew, ...peer } = said;
    if (peer.id === this.#id) return;
    const before = this.#others.get(peer.id)?.peer;
    if (isGone) this.#others.delete(peer.id);
    else if (before !== undefined || this.#others.size < limits.coordinatorsMax - 1)
      this.#others.set(peer.id, { peer, heardAt: performance.now() });
    if ((before?.leading ?? false) !== (peer.leading && !isGone)) this.#options.onChange();
    if (isNew) this.announce();
    else this.#options.onHeard();
  }
}

const what = "coordinator's announcement";

function parsed(data: Uint8Array): Said {
  const fields = fieldsOf(decode(data), what);
  if (count(fields, "v", what) !== 1) throw bad(what, "v");
  const address = text(fields, "address", what, 300);
  if (!isAddressText(Buffer.from(address))) throw bad(what, "address");
  const id = text(fields, "id", what, 16);
  if (!/^[0-9a-f]{16}$/.test(id)) throw bad(what, "id");
  return {
    id,
    address,
    host: text(fields, "host", what, 300),
    version: text(fields, "version", what, 100),
    leading: flag(fields, "leading", what),
    since: number(fields, "since", what),
    startedAt: number(fields, "startedAt", what),
    isGone: flag(fields, "isGone", what),
    isNew: flag(fields, "isNew", what),
  };
}
