import { expect, test } from "vitest";
import { Addresses } from "../src/control/addresses.ts";

/** An order that a test can foresee: as given. */
const inOrder = (): (() => number) => {
  let at = 0;
  return () => (at += 1);
};

const addressesOf = (
  join: readonly string[],
  isAllowed: (address: string) => boolean = () => true,
): Addresses => new Addresses({ join, isAllowed, random: inOrder() });

const next = (addresses: Addresses, count: number): string[] =>
  Array.from({ length: count }, () => addresses.next().address);

test("every address is tried once a round, those that coordinators told among them", () => {
  const addresses = addressesOf(["a:1", "b:1"]);
  expect(next(addresses, 3)).toEqual(["a:1", "b:1", "a:1"]);
  addresses.tell(["c:1", "b:1"]);
  expect(next(addresses, 1)).toEqual(["b:1"]); // the round goes on
  expect(next(addresses, 3).toSorted()).toEqual(["a:1", "b:1", "c:1"]);
});

test("a new round says so: it is time for a pause", () => {
  const addresses = addressesOf(["a:1", "b:1"]);
  expect([addresses.next(), addresses.next(), addresses.next()].map(({ isNewRound }) => isNewRound)).toEqual([
    true,
    false,
    true,
  ]);
});

test("where the leader is said to be comes first, without a pause, and once", () => {
  const addresses = addressesOf(["a:1", "b:1"]);
  expect(addresses.next().address).toBe("a:1");
  addresses.leaderIs("b:1");
  expect(addresses.next()).toEqual({ address: "b:1", isNewRound: false });
  expect(addresses.next()).toEqual({ address: "a:1", isNewRound: true }); // b has had its turn
});

test("what coordinators tell replaces what they told before, never what the agent was started with", () => {
  const addresses = addressesOf(["a:1"]);
  addresses.tell(["b:1", "c:1"]);
  addresses.tell(["d:1"]);
  addresses.tell([]); // says nothing
  expect(addresses.all).toEqual(["a:1", "d:1"]);
});

test("what they told before is tried all the same, one in each round: whoever spoke last may have known of nobody (P5)", () => {
  const addresses = addressesOf(["a:1"]);
  addresses.tell(["b:1", "c:1", "d:1"]);
  addresses.tell(["b:1"]); // NATS was away, and b heard of nobody
  const rounds = [next(addresses, 3), next(addresses, 3)];
  expect(rounds.map((round) => round.slice(0, 2))).toEqual([
    ["a:1", "b:1"],
    ["a:1", "b:1"],
  ]);
  expect(new Set(rounds.map((round) => round[2]))).toEqual(new Set(["c:1", "d:1"]));
});

test("an address to which the secret must not go is not used, whoever told it", () => {
  const addresses = addressesOf(["127.0.0.1:1"], (address) => address.startsWith("127."));
  addresses.tell(["10.0.0.1:1", "127.0.0.1:2"]);
  addresses.leaderIs("10.0.0.1:1");
  expect(addresses.next().address).toBe("127.0.0.1:1");
  expect(addresses.all).toEqual(["127.0.0.1:1", "127.0.0.1:2"]);
});

test("nobody can make the list longer than there are coordinators", () => {
  const addresses = addressesOf(["a:1"]);
  addresses.tell(Array.from({ length: 1_000 }, (_, at) => `b:${at}`));
  expect(addresses.all.length).toBeLessThan(40);
});
