/** The number, if it is the sum of its proper divisors. */
export function perfect(n: number): number | null {
  let sum = n > 1 ? 1 : 0;
  for (let divisor = 2; divisor * divisor <= n; divisor += 1) {
    if (n % divisor === 0) sum += divisor + (divisor * divisor === n ? 0 : n / divisor);
  }
  return sum === n ? n : null;
}

/** Never yields: only ending its process stops it, and that is what happens. */
export function forEver(_item: number): never {
  for (;;);
}
