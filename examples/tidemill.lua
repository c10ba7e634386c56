-- tidemill.lua: settings of the examples: tidemill run --config examples/tidemill.lua
return {
  group = "shop",
  rules = "rules",
  from = "start",
  outputs = {
    offers = { maxlen = 100000 },
    recommendations = { maxlen = 100000 },
    alerts = { maxlen = 100000, codec = "json" },
  },
  dlq_maxlen = 10000,
}
