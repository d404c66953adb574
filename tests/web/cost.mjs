/** What a piece of work costs, for the unit tests: processor's time, so that what other programs do does not count. */

/** @param {() => void} work @returns {number} ms */
export function cost_ms(work) {
  const before = process.cpuUsage();
  work();
  const { user, system } = process.cpuUsage(before);
  return (user + system) / 1_000;
}
