/** What `--audit` has found, as it stands in a job's record. */
import { bad, count, fieldsOf, list, oneOf } from "./checks.ts";
import type { Fields } from "./checks.ts";
import { isNodeId } from "./ids.ts";
import type { NodeId } from "./ids.ts";
import type { AuditResult, DifferingItem } from "./job.ts";
import { differences } from "./job.ts";
import { limits } from "./limits.ts";

const what = "audit";

export function parseAuditResult(fields: Fields, field: string): AuditResult {
  const found = fieldsOf(fields[field], what);
  return {
    checked: count(found, "checked", what),
    differing: count(found, "differing", what),
    unchecked: count(found, "unchecked", what),
    items: list(found, "items", what, limits.differingNamedMax).map(parseDiffering),
  };
}

function parseDiffering(value: unknown): DifferingItem {
  const item = fieldsOf(value, what);
  return {
    index: count(item, "index", what),
    first: nodeOf(item, "first"),
    second: nodeOf(item, "second"),
    how: oneOf(item, "how", what, differences),
  };
}

function nodeOf(fields: Fields, field: string): NodeId {
  const id = fields[field];
  if (!isNodeId(id)) throw bad(what, field);
  return id;
}
