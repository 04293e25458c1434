/** Labels and requirements are read strictly: they come from users, agents and other hosts' messages. */
import { expect, test } from "vitest";
import { checkLabels, checkRequirements, isRuntimeNeed, parseTask } from "../src/index.ts";

const task = (require: unknown): unknown => ({
  runtime: "exec",
  argv: ["true"],
  seed: "0123456789abcdef",
  rangeStart: 0,
  retries: 0,
  require,
});

test("a label is key=value, each key once", () => {
  expect(checkLabels(["gpu=a100", "zone=eu-1:b", "image=py:3.1+x"])).toHaveLength(3);
  for (const wrong of ["gpu", "=x", "a=", "a=b c", "-a=b", `a=${"x".repeat(64)}`])
    expect(() => checkLabels([wrong])).toThrow("is not a label");
  expect(() => checkLabels(["a=1", "a=2"])).toThrow("given twice");
  expect(() => checkLabels(["python=3.11"])).toThrow("is no label");
  expect(() => checkLabels(Array.from({ length: 33 }, (_, n) => `k${n}=v`))).toThrow(
    "33 labels are too many",
  );
});

test("a requirement is a label, a key, or a runtime", () => {
  expect(checkRequirements(["gpu=a100", "ssd", "python=3.11", "exec"])).toHaveLength(4);
  expect(isRuntimeNeed("python=3.11")).toBe(true);
  expect(isRuntimeNeed("pythonic=yes")).toBe(false);
  for (const wrong of ["python=3", "python=3.11.2", "js=24", "a b", ""])
    expect(() => checkRequirements([wrong])).toThrow("is not a");
});

test("a job's requirements are checked where its spec is read", () => {
  expect(parseTask(task(["gpu=a100"])).require).toEqual(["gpu=a100"]);
  expect(() => parseTask(task(["a b"]))).toThrow("is not a requirement");
  expect(() => parseTask(task("gpu"))).toThrow();
});
