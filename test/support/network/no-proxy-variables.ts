import { afterEach, beforeEach, vi } from 'vitest';

/* Imported for its effect: each test of the file begins without a proxy in the environment of this process. */

const VARIABLES = ['https_proxy', 'http_proxy', 'all_proxy', 'no_proxy'].flatMap((name) => [
  name,
  name.toUpperCase(),
]);

beforeEach(() => {
  for (const name of VARIABLES) vi.stubEnv(name, undefined);
});
afterEach(() => void vi.unstubAllEnvs());
