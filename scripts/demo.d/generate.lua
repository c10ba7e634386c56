-- generate.lua: events of a web shop that does not exist, the same for the same seed.
--
--   luajit scripts/demo.d/generate.lua --events 10 --only cart      JSON lines, as `tidemill send` takes them
--   luajit scripts/demo.d/generate.lua --rate 200 --send "tidemill send --redis redis://redis"
--
--   --events N      how many events (200000); 0: without end
--   --seed N        of all that is drawn (1)
--   --only STREAM   print the events of one stream; without it and without --send: STREAM, a tab, the event
--   --send COMMAND  give the events of each stream to COMMAND STREAM, run by a shell
--   --raw COMMAND   give entries that `send` would refuse to COMMAND as Redis commands (redis-cli --pipe)
--   --bad N         one event in N is malformed (2000); 0: none
--   --rate N        at most about N events a second
--   --report FILE   write what was made: lines of STREAM COUNT, and bad:KIND COUNT
--
-- Four streams: browse, cart, purchase, payment. Some hundred sessions go on at any time. Users and products are
-- skewed, as they are in shops: the favourite is hundreds of times as frequent as the thousandth. Cards are declined now
-- and then, and a few visitors do nothing but try out cards.
local options = { events = 200000, seed = 1, bad = 2000, rate = 0 }
do
  local i = 1
  while arg[i] do
    local name = arg[i]:match "^%-%-(%a+)$"
    local value = arg[i + 1]
    if not name or not value then
      io.stderr:write("generate: what is ", arg[i], "? See the first lines of this file\n")
      os.exit(2)
    end
    options[name] = type(options[name]) == "number" and assert(tonumber(value), "a number: " .. value) or value
    i = i + 2
  end
end
math.randomseed(options.seed)
local random, floor, format = math.random, math.floor, string.format

-- Draws 1 … n, the k-th with a weight of 1 / (k + flat).
local function zipf(n, flat)
  local sums, total = {}, 0
  for k = 1, n do
    total = total + 1 / (k + flat)
    sums[k] = total
  end
  return function()
    local x, low, high = random() * total, 1, n
    while low < high do
      local middle = floor((low + high) / 2)
      if sums[middle] < x then
        low = middle + 1
      else
        high = middle
      end
    end
    return low
  end
end

local USERS, PRODUCTS, SESSIONS = 20000, 2000, 400
local CATEGORIES = { "books", "garden", "kitchen", "music", "outdoor", "shoes", "toys", "bikes" }
local COUNTRIES = { "DE", "DE", "DE", "FR", "FR", "NL", "AT", "PL", "ES", "IT" }
local METHODS = { "card", "card", "card", "paypal", "transfer" }
local draw_user, draw_product = zipf(USERS, 10), zipf(PRODUCTS, 1)

-- What a product or a user is follows from the number alone.
local products = {}
for k = 1, PRODUCTS do
  products[k] = {
    sku = format("sku-%04d", k),
    category = CATEGORIES[(k * 7) % #CATEGORIES + 1],
    cents = floor(299 + (k * 7919) % 1000 * (k % 11 == 0 and 40 or 8)),
  }
end

local function segment_of(user)
  return user % 17 == 0 and "gold" or user % 5 == 0 and "silver" or "basic"
end

-- ── events ──────────────────────────────────────────────────────────────────────────────────────

local clock = 1767603600000 -- ms; 5 January 2026, a Monday morning
local orders = 0
local made = {}

local function money(cents)
  return format("%d.%02d", floor(cents / 100), cents % 100)
end

local function event(s, kind, text, ...)
  return format('{"type":"%s","user_id":"u%d","session":"s%d",' .. text .. ',"ts":%.0f}', kind, s.user, s.number, ...)
end

local function browse(s)
  local p = s.product
  return "browse", event(s, "view", '"sku":"%s","category":"%s","price":%s,"segment":"%s"', p.sku, p.category,
    money(p.cents), segment_of(s.user), clock)
end

local function cart(s, kind, item)
  return "cart", event(s, kind, '"sku":"%s","category":"%s","price":%s,"qty":%d,"total":%s', item.product.sku,
    item.product.category, money(item.product.cents), item.qty, money(s.total), clock)
end

local function purchase(s, item)
  local p = item.product
  return "purchase", event(s, "purchase",
    '"order_id":"o%d","sku":"%s","category":"%s","price":%s,"qty":%d,"total":%s,"segment":"%s","currency":"EUR"', s.order,
    p.sku, p.category, money(p.cents), item.qty, money(p.cents * item.qty), segment_of(s.user), clock)
end

local function payment(s, status, cents)
  return "payment", event(s, "payment",
    '"order_id":"o%d","status":"%s","amount":%s,"currency":"EUR","method":"%s","country":"%s","card":"%04d"', s.order,
    status, money(cents), s.method, s.country, s.card, clock)
end

-- ── sessions ────────────────────────────────────────────────────────────────────────────────────

local sessions, session_count = {}, 0

local function new_order(s)
  orders = orders + 1
  s.order = orders
end

local function new_session()
  session_count = session_count + 1
  local s = { number = session_count, user = draw_user(), items = {}, total = 0, card = random(0, 9999) }
  s.country = COUNTRIES[s.user % #COUNTRIES + 1]
  s.method = METHODS[random(#METHODS)]
  s.left = random(2, 14) -- products to look at
  s.product = products[draw_product()]
  if random(300) == 1 then
    s.tries = random(6, 15) -- cards to try out
    new_order(s)
  end
  return s
end

-- The next event of a session: stream, JSON. Nothing when it is over.
local function step(s)
  if s.tries then
    s.tries = s.tries - 1
    s.card, s.method = random(0, 9999), "card"
    if s.tries >= 0 then
      return payment(s, random(12) == 1 and "paid" or "declined", random(100, 500))
    end
  elseif s.buying then
    s.buying = s.buying + 1
    local item = s.items[s.buying]
    if item then
      return purchase(s, item)
    end
    if not s.is_paid then
      s.attempts = (s.attempts or 0) + 1
      s.is_paid = random(20) > 1
      if s.is_paid or s.attempts < 3 then
        return payment(s, s.is_paid and "paid" or "declined", s.total)
      end
    end
  elseif s.left > 0 then
    local dice = random(100)
    if dice <= 17 then
      local item = { product = s.product, qty = random(10) == 1 and random(2, 4) or 1 }
      s.items[#s.items + 1] = item
      s.total = s.total + item.product.cents * item.qty
      return cart(s, "add", item)
    elseif dice <= 20 and #s.items > 0 then
      local item = table.remove(s.items)
      s.total = s.total - item.product.cents * item.qty
      return cart(s, "remove", item)
    end
    s.left = s.left - 1
    s.product = random(3) == 1 and products[draw_product()] or products[(s.product.cents + 8 * s.left) % PRODUCTS + 1]
    return browse(s)
  elseif #s.items > 0 and not s.has_decided then
    s.has_decided = true
    if random(5) > 2 then -- the others leave their cart
      s.buying = 0
      new_order(s)
      return step(s)
    end
  end
end

for i = 1, SESSIONS do
  sessions[i] = new_session()
end

local function next_event()
  clock = clock + random(0, 30)
  while true do
    local i = random(SESSIONS)
    local stream, json = step(sessions[i])
    if stream then
      return stream, json
    end
    sessions[i] = new_session()
  end
end

-- ── malformed ones ──────────────────────────────────────────────────────────────────────────────

-- Each takes a whole event and returns JSON, or nil and the bytes of an entry's field.
local spoil = {
  {
    "no user",
    function(json)
      return (json:gsub('"user_id":"[^"]*",', "", 1))
    end,
  },
  {
    "user is a list",
    function(json)
      return (json:gsub('"user_id":("[^"]*")', '"user_id":[%1]', 1))
    end,
  },
  {
    "cut msgpack",
    function()
      return nil, "\x85\xa4type\xa4view\xa7user_id\xa3u1"
    end,
  },
  {
    "cut JSON",
    function(json)
      return nil, json:sub(1, -20)
    end,
  },
}

local pipes = {}

local function pipe(name, command)
  pipes[name] = pipes[name] or assert(io.popen(command, "w"))
  return pipes[name]
end

local function raw(stream, bytes)
  local words = { "XADD", stream, "*", "data", bytes }
  local out = pipe("raw", options.raw .. " >/dev/null")
  out:write("*", #words, "\r\n")
  for _, word in ipairs(words) do
    out:write("$", #word, "\r\n", word, "\r\n")
  end
  out:flush()
end

local function put(stream, json)
  made[stream] = (made[stream] or 0) + 1
  if options.send then
    pipe(stream, options.send .. " " .. stream):write(json, "\n")
  elseif options.only then
    if options.only == stream then
      io.write(json, "\n")
    end
  else
    io.write(stream, "\t", json, "\n")
  end
end

local function put_bad(stream, json)
  local kind = spoil[random(#spoil)]
  local text, bytes = kind[2](json)
  if bytes and not options.raw then
    return put(stream, json)
  end
  made["bad:" .. kind[1]] = (made["bad:" .. kind[1]] or 0) + 1
  if text then
    return put(stream, text)
  end
  made[stream] = (made[stream] or 0) + 1
  raw(stream, bytes)
end

-- Sleeps for the rest of a tenth of a second, ten times a second.
local function pace(count)
  local share = math.max(1, floor(options.rate / 10))
  if count % share == 0 then
    for _, out in pairs(pipes) do
      out:flush()
    end
    io.flush()
    os.execute "sleep 0.1"
  end
end

local count = 0
while options.events == 0 or count < options.events do
  count = count + 1
  local stream, json = next_event()
  if options.bad > 0 and random(options.bad) == 1 then
    put_bad(stream, json)
  else
    put(stream, json)
  end
  if options.rate > 0 then
    pace(count)
  end
end

local failed = false
for _, out in pairs(pipes) do
  local ok = out:close()
  failed = failed or not ok
end
if options.report then
  local names = {}
  for name in pairs(made) do
    names[#names + 1] = name
  end
  table.sort(names)
  local file = assert(io.open(options.report, "w"))
  for _, name in ipairs(names) do
    file:write(name, "\t", made[name], "\n")
  end
  file:close()
end
os.exit(failed and 1 or 0)
