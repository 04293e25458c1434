/**
 * Where an agent looks for its leader: the addresses it was started with and those that coordinators have told, each
 * once a round in an order of its own (a thousand agents must not all knock at one door), and first where a
 * coordinator said that the leader is.
 */

/** As many as coordinators know of each other. */
const toldMax = 32;

export class Addresses {
  readonly #join: readonly string[];
  readonly #isAllowed: (address: string) => boolean;
  readonly #random: () => number;
  #told: readonly string[] = [];
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
    return [...new Set([...this.#join, ...this.#told])];
  }

  /** All coordinators, as one of them knows them. */
  tell(addresses: readonly string[]): void {
    const told = addresses.filter((address) => address !== "" && this.#isAllowed(address)).slice(0, toldMax);
    if (told.length > 0) this.#told = told;
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
    if (isNewRound) this.#round = this.#shuffled();
    return { address: this.#round.shift()!, isNewRound };
  }

  #shuffled(): string[] {
    return this.all
      .map((address) => ({ address, at: this.#random() }))
      .sort((a, b) => a.at - b.at)
      .map(({ address }) => address);
  }
}
