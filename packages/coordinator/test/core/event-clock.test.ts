import { describe, expect, test } from "vitest";
import { EventClock } from "../../src/core/event-clock.ts";

describe("the time of events", () => {
  test("is the machine's, also when that is set forward", () => {
    const clock = new EventClock();
    expect(clock.at({ wall: 1_000, steady: 5 })).toBe(1_000);
    expect(clock.at({ wall: 1_250, steady: 255 })).toBe(1_250);
    expect(clock.at({ wall: 3_601_300, steady: 305 })).toBe(3_601_300);
    expect(clock.at({ wall: 3_601_310, steady: 315 })).toBe(3_601_310);
  });

  test("goes on at its pace when the machine's is set back, until that has caught up (P5)", () => {
    const clock = new EventClock();
    clock.at({ wall: 3_600_000, steady: 100 });
    expect(clock.at({ wall: 1_000, steady: 200.5 })).toBe(3_600_100);
    expect(clock.at({ wall: 16_000, steady: 15_200 })).toBe(3_615_100);
    // Set back once more: what has passed is not counted twice, nor lost.
    expect(clock.at({ wall: 5, steady: 15_300 })).toBe(3_615_200);
    expect(clock.at({ wall: 3_700_000, steady: 15_400 })).toBe(3_700_000);
  });

  test("does not lose what is rounded away, however many events there are", () => {
    const clock = new EventClock();
    clock.at({ wall: 10_000, steady: 0 });
    let at = 0;
    for (let event = 1; event <= 10_000; event += 1) at = clock.at({ wall: 0, steady: event / 10 });
    expect(at).toBe(11_000);
  });
});
