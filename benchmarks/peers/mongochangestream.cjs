// mongochangestream: an initial scan and a change stream into a handler that writes hashes by pipeline.
//
//     NODE_PATH=.../node_modules node mongochangestream.cjs MONGO_URI REDIS_URL DATABASE COLLECTION
//
// The library keeps its position in Redis and loses what happens before the first event of a stream has come, as its
// manual says. So the first position is stored here. SIGTERM ends it after the batch at hand, with exit code 0.
'use strict'

const { MongoClient } = require('mongodb')
const { Redis } = require('ioredis')
const { initSync } = require('mongochangestream')

const FIELDS = ['v', 'name', 'email', 'city', 'street', 'score', 'status', 'note']
const BATCH = { batchSize: 1000 }
const FLUSH = { ...BATCH, timeout: 5 } // milliseconds; by default a batch waits 30 s until it is full
const SORT = { field: '_id', serialize: String, deserialize: Number } // by default it takes every _id for an ObjectId

async function main(mongoUri, redisUrl, database, name) {
  const client = await MongoClient.connect(mongoUri)
  const redis = new Redis(redisUrl, { enableAutoPipelining: true })
  const collection = client.db(database).collection(name)
  const sync = initSync(redis, collection)
  sync.emitter.on('cursorError', ({ error }) => fail(error))
  await keepFirstPosition(sync, redis, collection)

  const write = (changes) => apply(redis, changes)
  const stream = await sync.processChangeStream(write, FLUSH)
  const scan = await sync.runInitialScan(write, { ...BATCH, sortField: SORT })
  process.on('SIGTERM', async () => {
    await Promise.all([scan.stop(), stream.stop()])
    process.exit(0)
  })
  stream.start().catch(fail)
  await scan.start()
  console.log('ready')
}

// A position from before the scan, so that nothing is lost when the process stops before the first event.
async function keepFirstPosition(sync, redis, collection) {
  const changes = collection.watch()
  await changes.tryNext()
  await redis.set(sync.keys.changeStreamTokenKey, JSON.stringify(changes.resumeToken), 'NX')
  await changes.close()
}

// One batch, one round trip. Whole documents replace whole hashes; deletes are followed.
async function apply(redis, changes) {
  const pipe = redis.pipeline()
  for (const { documentKey, fullDocument } of changes) {
    const key = `bench:${documentKey._id}`
    pipe.del(key)
    if (fullDocument) pipe.hset(key, Object.fromEntries(FIELDS.map((field) => [field, fullDocument[field]])))
  }
  for (const [error] of await pipe.exec()) if (error) throw error
}

function fail(error) {
  console.error(error)
  process.exit(1)
}

main(...process.argv.slice(2, 6)).catch(fail)
