import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    // Real processes and real servers: a slow machine needs time, and no test asserts any.
    testTimeout: 60_000,
    hookTimeout: 60_000,
  },
});
