const blockSize = 100_000;

/** Primes in [block * 100,000, (block + 1) * 100,000). */
export function primesInBlock(block: number): number {
  let count = 0;
  for (let n = block * blockSize; n < (block + 1) * blockSize; n += 1) if (isPrime(n)) count += 1;
  return count;
}

function isPrime(n: number): boolean {
  if (n < 4) return n > 1;
  if (n % 2 === 0) return false;
  for (let divisor = 3; divisor * divisor <= n; divisor += 2) if (n % divisor === 0) return false;
  return true;
}
