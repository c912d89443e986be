// A graphile-worker whose task routes the events of its job; "fill" makes its tables only: `node graphile.cjs fill`, `node graphile.cjs work <options>`.
// Modules are found through NODE_PATH, the database through DATABASE_URL.
const { Pool } = require("pg");
const { run, runMigrations, Logger } = require("graphile-worker");

const quiet = new Logger(() => () => {});
const connectionString = process.env.DATABASE_URL;

async function work(options) {
  const pgPool = new Pool({ connectionString, max: options.connections });
  pgPool.on("error", () => {}); // the server may end first
  pgPool.on("connect", (client) => client.on("error", () => {}));
  const runner = await run({
    pgPool,
    logger: quiet,
    noHandleSignals: false,
    preset: {
      worker: {
        concurrentJobs: options.concurrency,
        completeJobBatchDelay: options.queue > 0 ? 0 : -1,
        failJobBatchDelay: options.queue > 0 ? 0 : -1,
        localQueue: { size: options.queue },
      },
    },
    taskList: {
      // One connection for all events of a job.
      route: async (events, helpers) =>
        helpers.withPgClient(async (client) => {
          for (const event of events) {
            await client.query({ name: "route", text: "select public.route_webhook_event($1, $2)", values: event });
          }
        }),
    },
  });
  await runner.promise;
}

(process.argv[2] === "fill"
  ? runMigrations({ connectionString, logger: quiet })
  : work(JSON.parse(process.argv[3]))
).catch((error) => {
  console.error(error);
  process.exit(1);
});
