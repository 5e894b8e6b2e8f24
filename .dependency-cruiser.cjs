const LAYERS = require('./scripts/layers.cjs');

module.exports = {
  forbidden: [
    ...LAYERS.slice(0, -1).map(([layer, path], index) => ({
      name: `${layer}-never-imports-from-above`,
      severity: 'error',
      from: { path },
      to: { path: LAYERS.slice(index + 1).map(([, above]) => above) },
    })),
    {
      name: 'oauth-and-store-meet-in-the-vault-only',
      severity: 'error',
      from: { path: '^src/oauth/' },
      to: { path: '^src/(store|keyring)/|^src/sealing' },
    },
    {
      name: 'store-and-keyring-know-no-protocol',
      severity: 'error',
      from: { path: '^src/(store|keyring|handover)/' },
      to: { path: '^src/oauth/' },
    },
    {
      name: 'keyrings-know-no-store',
      severity: 'error',
      from: { path: '^src/keyring/' },
      to: { path: '^src/store/' },
    },
    {
      name: 'only-system-touches-files-and-processes',
      severity: 'error',
      from: { path: '^src/', pathNot: '^src/system/' },
      to: { path: '^(node:)?(fs|fs/promises|child_process|os)$' },
    },
    {
      name: 'no-sdk-is-loaded',
      comment: 'The SDKs are optional: their types may be named, their code is the caller’s.',
      severity: 'error',
      from: { path: '^src/' },
      to: { path: 'node_modules/(@modelcontextprotocol|@ai-sdk)/', dependencyTypesNot: ['type-only'] },
    },
    { name: 'no-cycles', severity: 'error', from: {}, to: { circular: true } },
    { name: 'everything-is-found', severity: 'error', from: {}, to: { couldNotResolve: true } },
    {
      name: 'no-development-packages-in-the-product',
      severity: 'error',
      from: { path: '^src/' },
      to: { dependencyTypes: ['npm-dev', 'npm-no-pkg', 'npm-unknown'], dependencyTypesNot: ['npm-peer'] },
    },
  ],
  options: {
    tsConfig: { fileName: 'tsconfig.json' },
    tsPreCompilationDeps: true,
    doNotFollow: { path: 'node_modules' },
  },
};
