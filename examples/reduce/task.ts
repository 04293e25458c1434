type Counts = Record<string, number>;

export function countWords(text: string): Counts {
  const counts: Counts = {};
  for (const word of text.split(/\s+/)) counts[word] = (counts[word] ?? 0) + 1;
  return counts;
}

/** Associative, as a reducer must be: whatever neighbours are merged first, the sum is the same. */
export function merge(left: Counts, right: Counts): Counts {
  const sum = { ...left };
  for (const [word, count] of Object.entries(right)) sum[word] = (sum[word] ?? 0) + count;
  return sum;
}
