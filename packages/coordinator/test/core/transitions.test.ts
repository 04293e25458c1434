// The tables are the whole of what may happen: every legal pair leads where it says, every other pair throws with
// the names of machine, entity, state and event.
import { describe, expect, test } from "vitest";
import { jobTransitions, leaseTransitions, nodeTransitions, phaseTransitions } from "../../src/core/index.ts";
import { may, move } from "../../src/core/transitions.ts";
import { jobStates } from "@everycore/protocol";

type Table = Readonly<Record<string, Readonly<Partial<Record<string, string>>>>>;

const tables: Record<string, Table> = {
  job: jobTransitions,
  phase: phaseTransitions,
  node: nodeTransitions,
  lease: leaseTransitions,
};

describe.for(Object.entries(tables))("%s", ([machine, table]) => {
  const states = Object.keys(table);
  const events = [...new Set(states.flatMap((state) => Object.keys(table[state]!)))];

  test("every legal pair leads to a state of the table", () => {
    for (const from of states) {
      for (const [event, to] of Object.entries(table[from]!)) {
        expect(states).toContain(to);
        expect(move(table, { machine, id: "x", from, event })).toBe(to);
        expect(may(table, from, event)).toBe(true);
      }
    }
  });

  test("every other pair throws, naming machine, entity, state and event", () => {
    let illegal = 0;
    for (const from of states) {
      for (const event of [...events, "nonsense"]) {
        if (table[from]![event] !== undefined) continue;
        illegal += 1;
        const message = `${machine} x1: no move "${event}" from "${from}"`;
        expect(() => move(table, { machine, id: "x1", from, event })).toThrow(message);
        expect(may(table, from, event)).toBe(false);
      }
    }
    expect(illegal).toBeGreaterThan(0);
  });

  test("every state but the first can be reached", () => {
    const reached = new Set([states[0]!]);
    for (let grown = -1; grown !== reached.size;) {
      grown = reached.size;
      for (const from of [...reached]) for (const to of Object.values(table[from]!)) reached.add(to!);
    }
    expect([...reached].sort()).toEqual([...states].sort());
  });
});

test("the states of a job are those of the contract", () => {
  expect(Object.keys(jobTransitions).sort()).toEqual([...jobStates].sort());
});
