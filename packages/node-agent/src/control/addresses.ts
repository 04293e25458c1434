/**
 * Where an agent looks for its leader: the addresses it was started with and those that coordinators have told, each
 * once a round in an order of its own (a thousand agents must not all knock at one door), and first where a
 * coordinator said that the leader is. Last in each round is one of those that they told before: a machine that is gone
 * for good costs its seconds once in a few rounds.
 */
import { ToldAddresses } from "@everycore/protocol";

export class Addresses {
  readonly #join: readonly string[];
  readonly #isAllowed: (address: string) => boolean;
  readonly #random: () => number;
  readonly #told = new ToldAddresses();
  #formerAt = 0;
  #leader = "";
  #round: string[] = [];

  constructor(options: {
    join: readonly string[];
    isAllowed: (address: string) => boolean;
    random: () => number;
  }) {
    this.#join = options.join;
    this.#isAllowed = options.isAllowed;
    this.#random = options.random;
  }

  get all(): readonly string[] {
    return [...new Set([...this.#join, ...this.#told.now])];
  }

  /** All coordinators, as one of them knows them. */
  tell(addresses: readonly string[]): void {
    this.#told.tell(addresses.filter((address) => address !== "" && this.#isAllowed(address)));
  }

  /** Asked next, before all others. */
  leaderIs(address: string): void {
    this.#leader = address !== "" && this.#isAllowed(address) ? address : "";
  }

  /** `isNewRound`: all were tried in vain, and it is time for a pause. */
  next(): { readonly address: string; readonly isNewRound: boolean } {
    const leader = this.#leader;
    this.#leader = "";
    if (leader !== "") {
      this.#round = this.#round.filter((address) => address !== leader);
      return { address: leader, isNewRound: false };
    }
    const isNewRound = this.#round.length === 0;
    if (isNewRound) this.#round = [...this.#shuffled(), ...this.#oneFormer()];
    return { address: this.#round.shift()!, isNewRound };
  }

  #oneFormer(): string[] {
    const former = this.#told.former.filter((address) => !this.#join.includes(address));
    this.#formerAt += 1;
    return former.length === 0 ? [] : [former[this.#formerAt % former.length]!];
  }

  #shuffled(): string[] {
    return this.all
      .map((address) => ({ address, at: this.#random() }))
      .sort((a, b) => a.at - b.at)
      .map(({ address }) => address);
  }
}
