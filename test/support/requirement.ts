import { spawnSync } from 'node:child_process';

/**
 * Checks something that a test needs and a plain machine may lack.
 *
 * @param what a sentence such as "gnome-keyring-daemon is not installed"
 * @param met whether this machine meets the requirement
 * @returns for `skipIf`, why it is missing
 * @throws if it is missing and the run promised to skip nothing (`HOLDFAST_TEST_REQUIRE_ALL=1`)
 */
export function requirement(what: string, met: boolean): string | undefined {
  if (met) return undefined;
  if (process.env['HOLDFAST_TEST_REQUIRE_ALL'] === '1') {
    throw new Error(`HOLDFAST_TEST_REQUIRE_ALL is set, but ${what}`);
  }
  return what;
}

/** Whether a program with that name is on the PATH. */
export function installed(program: string): boolean {
  return spawnSync('sh', ['-c', `command -v "${program}"`], { stdio: 'ignore' }).status === 0;
}
