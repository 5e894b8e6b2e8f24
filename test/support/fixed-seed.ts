import fc from 'fast-check';

/* The same inputs each time, so that a test says the same of the same code. `npm run fuzz` looks for new ones. */
fc.configureGlobal({ seed: 20_261_130 });
