import { expect, test } from "vitest";
import { auditShare } from "../src/job-options.ts";

test("the share of an audit is percent or a fraction; what cannot be one is refused with what to write", () => {
  expect(["1%", "0.01", "100%", "1", "12.5%", ".5"].map((text) => auditShare("audit", text))).toEqual([
    0.01, 0.01, 1, 1, 0.125, 0.5,
  ]);
  for (const text of ["0", "0%", "150%", "5", "-1%", "", "%", "1e-3", "one", "NaN"]) {
    expect(() => auditShare("audit", text), text).toThrow(`audit is "${text}", not a share of the items`);
  }
});
