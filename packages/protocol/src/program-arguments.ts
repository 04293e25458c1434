/** How an item stands in the arguments of a program, as GNU parallel has it: {} {/} {.} {#}, or else at the end. */
import { basename } from "node:path";

const placeholders = /\{\}|\{\/\}|\{\.\}|\{#\}/g;

export const hasPlaceholder = (part: string): boolean => part.search(placeholders) >= 0;

/** The arguments for one item; without any placeholder the item is the last one. */
export function argumentsOf(argv: readonly string[], item: { text: string; index: number }): string[] {
  const { text, index } = item;
  const values: Readonly<Record<string, string>> = {
    "{}": text,
    "{/}": basename(text),
    "{.}": text.replace(/\.[^./]*$/, ""),
    "{#}": String(index + 1),
  };
  const filled = argv.map((part) => part.replace(placeholders, (mark) => values[mark] ?? mark));
  return argv.some(hasPlaceholder) ? filled : [...filled, text];
}
