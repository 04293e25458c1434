/**
 * Addresses of coordinators, as one of them told them. What was told before is kept behind that: in an outage of NATS a
 * coordinator hears of nobody and knows itself alone, and if it then dies, whoever listened to it last would know of
 * nobody either (P5).
 */
import { limits } from "./limits.ts";

export class ToldAddresses {
  #now: readonly string[] = [];
  #former: readonly string[] = [];

  /** As told last. */
  get now(): readonly string[] {
    return this.#now;
  }

  /** Told before, and not any more: the latest first. */
  get former(): readonly string[] {
    return this.#former;
  }

  /** All coordinators that one of them knows; an empty list says nothing. */
  tell(addresses: readonly string[]): void {
    const told = addresses.slice(0, limits.coordinatorsMax);
    if (told.length === 0) return;
    const before = new Set([...this.#now, ...this.#former]);
    for (const address of told) before.delete(address);
    this.#former = [...before].slice(0, limits.formerCoordinatorsMax);
    this.#now = told;
  }
}
