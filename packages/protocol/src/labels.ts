/**
 * Labels of nodes, `key=value`, and what a job requires of the nodes that run it: `key=value`, or `key` for any value.
 * `python=3.11` stands for an interpreter, of which a node may have several. Pure: read by the command, the agent and
 * the coordinator alike.
 */
import { EverycoreError } from "./errors.ts";
import { limits } from "./limits.ts";

const key = "[A-Za-z0-9][A-Za-z0-9._/-]{0,62}";
const value = "[A-Za-z0-9][A-Za-z0-9._:+-]{0,62}";
const labelForm = new RegExp(`^${key}=${value}$`);
const requirementForm = new RegExp(`^${key}(=${value})?$`);

/** Facts that a node tells of itself: a label of that name would say something else. */
const reserved = new Set(["python", "js", "exec"]);

/** A requirement of a runtime or of a version of one, rather than of a label. */
export const isRuntimeNeed = (requirement: string): boolean => reserved.has(keyOf(requirement));

export const keyOf = (label: string): string => label.split("=", 1)[0]!;

export function checkLabels(labels: readonly string[]): readonly string[] {
  for (const label of labels) {
    if (!labelForm.test(label)) throw wrong(label, "label", "gpu=a100");
    if (reserved.has(keyOf(label))) {
      throw new EverycoreError(
        "bad-input",
        `"${label}": ${keyOf(label)} is no label, agents find it themselves`,
      );
    }
  }
  const keys = new Set(labels.map(keyOf));
  if (keys.size !== labels.length)
    throw new EverycoreError("bad-input", "a label is given twice", { hint: "a key has one value" });
  return few(labels, "labels");
}

export function checkRequirements(requirements: readonly string[]): readonly string[] {
  for (const requirement of requirements) {
    if (!requirementForm.test(requirement)) throw wrong(requirement, "requirement", "gpu=a100 or gpu");
    if (isRuntimeNeed(requirement) && !/^(python(=\d+\.\d+)?|js|exec)$/.test(requirement))
      throw wrong(requirement, "runtime", "python=3.11");
  }
  return few(requirements, "requirements");
}

function few(list: readonly string[], what: string): readonly string[] {
  if (list.length <= limits.labelsMax) return list;
  throw new EverycoreError(
    "over-limit",
    `${list.length} ${what} are too many; the limit is ${limits.labelsMax}`,
  );
}

const wrong = (text: string, what: string, example: string): EverycoreError =>
  new EverycoreError("bad-input", `"${text}" is not a ${what}`, { hint: `write ${example}` });
