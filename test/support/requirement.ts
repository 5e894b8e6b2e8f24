import { spawnSync } from 'node:child_process';

/**
 * Something that a test needs and a plain machine may lack. Answers why it is missing, for `skipIf`, and throws where
 * the run promised to skip nothing (`HOLDFAST_TEST_REQUIRE_ALL=1`).
 *
 * @param what a sentence such as "gnome-keyring-daemon is not installed"
 * @param met whether the requirement holds here
 */
export function requirement(what: string, met: boolean): string | undefined {
  if (met) return undefined;
  if (process.env['HOLDFAST_TEST_REQUIRE_ALL'] === '1') {
    throw new Error(`HOLDFAST_TEST_REQUIRE_ALL is set, but ${what}`);
  }
  return what;
}

/** Whether a program of that name is on the PATH. */
export function installed(program: string): boolean {
  return spawnSync('sh', ['-c', `command -v "${program}"`], { stdio: 'ignore' }).status === 0;
}
