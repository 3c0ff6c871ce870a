const jestJupyterLab = require('@jupyterlab/testutils/lib/jest-config');

// Published as ES modules, which jest does not load untransformed.
const esModules = [
  '@codemirror',
  '@jupyter/',
  '@jupyterlab/',
  '@microsoft/',
  'exenv-es6',
  'lib0',
  'nanoid',
  'vscode-ws-jsonrpc',
  'y-protocols',
  'y-websocket',
  'yjs'
].join('|');

module.exports = {
  ...jestJupyterLab(__dirname),
  automock: false,
  collectCoverageFrom: [
    'src/**/*.{ts,tsx}',
    '!src/**/__tests__/**',
    '!src/index.ts' // wiring: tests/browser drives it in a real lab
  ],
  coverageReporters: ['text', 'lcovonly'],
  reporters: ['default'],
  coverageThreshold: { global: { branches: 90, lines: 90 } },
  testRegex: 'src/__tests__/.*\\.spec\\.tsx?$',
  transformIgnorePatterns: [`/node_modules/(?!${esModules}).+`]
};
