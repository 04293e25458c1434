/**
 * Reductions in the fixed binary tree of spans (P6): a stack of partials like the digits of a binary counter.
 * After the items [a, e) it holds exactly the maximal spans of [a, e), whatever was cut where before.
 */

export type Combine = (a: unknown, b: unknown) => unknown;

/** A node of the tree: `none` when no item of its span has a value. */
export interface Partial {
  readonly start: number;
  readonly level: number;
  readonly missing: number;
  readonly none: boolean;
  readonly value: unknown;
}

/** Joins two neighbours of one level; the values of both are consumed. */
export async function join(left: Partial, right: Partial, combine: Combine): Promise<Partial> {
  const missing = left.missing + right.missing;
  const node = { start: left.start, level: left.level + 1, missing };
  if (left.none) return { ...node, none: right.none, value: right.value };
  if (right.none) return { ...node, none: false, value: left.value };
  return { ...node, none: false, value: await combine(left.value, right.value) };
}

export class PartialStack {
  readonly partials: Partial[] = [];
  readonly #combine: Combine;

  constructor(combine: Combine) {
    this.#combine = combine;
  }

  async push(partial: Partial): Promise<void> {
    let node = partial;
    for (;;) {
      const left = this.partials.at(-1);
      const size = 2 ** node.level;
      const isRight = left !== undefined && left.level === node.level && left.start % (2 * size) === 0;
      if (!isRight || left.start + size !== node.start) break;
      this.partials.pop();
      node = await join(left, node, this.#combine);
    }
    this.partials.push(node);
  }
}

/** The whole tree over spans in order; what is missing between and after them is `none`. */
export async function combineAll(
  partials: readonly Partial[],
  combine: Combine,
): Promise<Partial | undefined> {
  const stack = new PartialStack(combine);
  for (const partial of partials) await stack.push(partial);
  // What remains are ever smaller left siblings: their missing right halves are none, so the smaller one rises
  // unchanged to the level of its left neighbour.
  let node = stack.partials.pop();
  for (
    let left = stack.partials.pop();
    node !== undefined && left !== undefined;
    left = stack.partials.pop()
  ) {
    node = await join(left, { ...node, level: left.level }, combine);
  }
  return node;
}
