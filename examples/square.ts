/** The smallest task: a function of an item and its context. */
export default function square(n: number, ctx: { random(): number }) {
  return { n, square: n * n, dice: 1 + Math.floor(ctx.random() * 6) };
}
