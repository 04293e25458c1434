import { expect, test } from "vitest";
import { limits, ToldAddresses } from "../src/index.ts";

test("what was told last counts; what was told before is kept behind it", () => {
  const told = new ToldAddresses();
  told.tell(["a:1", "b:1", "c:1"]);
  told.tell(["b:1"]);
  told.tell([]); // says nothing
  expect(told).toMatchObject({ now: ["b:1"], former: ["a:1", "c:1"] });
  told.tell(["c:1", "d:1"]);
  expect(told).toMatchObject({ now: ["c:1", "d:1"], former: ["b:1", "a:1"] });
});

test("neither list grows without bound (P7)", () => {
  const told = new ToldAddresses();
  for (let n = 0; n < 100; n += 1) told.tell([`a:${n}`]);
  expect(told.former.length).toBe(limits.formerCoordinatorsMax);
  expect(told.former[0]).toBe("a:98");
  told.tell(Array.from({ length: 1_000 }, (_, at) => `b:${at}`));
  expect(told.now.length).toBe(limits.coordinatorsMax);
});
