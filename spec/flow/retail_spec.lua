-- Real orders in their own time: revenue per country and hour, and the sessions of each customer, against totals that are worked out
-- another way, straight from the file. Skipped unless TIDEMILL_RETAIL is the path of UCI Online Retail as CSV (also .xz), in the order
-- of time, with the columns InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country.
local engine = require "spec.support.engine"
local files = require "spec.support.files"
local redis = require "spec.support.redis"
local wait = require "spec.support.wait"

local PATH = os.getenv "TIDEMILL_RETAIL"
local GAP_MINUTES, BATCH = 30, 10000

-- Thousandths of a pound, as whole numbers: so no sum depends on its order.
local MILLS = [[tonumber(event.quantity) * math.floor(tonumber(event.price) * 1000 + 0.5)]]

local RULE = [[
local tidemill = require "tidemill"
local window = require "tidemill.window"
return tidemill.rule {
  stream = "retail",
  key    = %q,
  time   = "date",
  window = window.%s,
  when   = function(event) return event[%q] ~= "" end,
  merge  = function(a, b) return { lines = a.lines + b.lines, mills = a.mills + b.mills } end,
  on_event = function(event, ctx)
    local w = ctx.window
    w.lines, w.mills = (w.lines or 0) + 1, (w.mills or 0) + %s
  end,
  on_window = function(span, ctx)
    ctx.emit(%q, { key = ctx.key, start = span.start, stop = span.stop, lines = ctx.window.lines, mills = ctx.window.mills })
  end,
}
]]

local function rule(name, key, window)
  return RULE:format(key, window, key, MILLS, name)
end

-- The columns of a line; quoted ones may hold commas, and quotes twice.
local function columns_of(line)
  if not line:find('"', 1, true) then
    local list = {}
    for text in (line .. ","):gmatch "([^,]*)," do
      list[#list + 1] = text
    end
    return list
  end
  local list, at = {}, 1
  while at <= #line + 1 do
    local text, next_at
    if line:sub(at, at) == '"' then
      local from = at + 1
      repeat
        local quote = assert(line:find('"', from, true), line)
        from = quote + 2
        next_at = quote + 1
      until line:sub(quote + 1, quote + 1) ~= '"'
      text = line:sub(at + 1, next_at - 2):gsub('""', '"')
    else
      next_at = line:find(",", at, true) or #line + 1
      text = line:sub(at, next_at - 1)
    end
    list[#list + 1], at = text, next_at + 1
  end
  return list
end

-- Calls with every order line: { date =, quantity =, price =, customer =, country = }, all text.
local function each_order(path, call)
  local pipe = assert(io.popen((path:find "%.xz$" and "xz -dc " or "cat ") .. files.quote(path)))
  assert(pipe:read "*l" == "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country")
  for line in pipe:lines() do
    local c = columns_of(line)
    assert(#c == 8, line)
    call { quantity = c[4], date = c[5], price = c[6], customer = c[7], country = c[8] }
  end
  pipe:close()
end

-- Minutes since 1970 of "2010-12-01 08:26:00", by counting days.
local function minutes_of(date)
  local year, month, day, hour, minute = date:match "^(%d+)-(%d+)-(%d+) (%d+):(%d+):00$"
  local days = 0
  for y = 1970, year - 1 do
    days = days + (y % 4 == 0 and 366 or 365)
  end
  local lengths = { 31, year % 4 == 0 and 29 or 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 }
  for m = 1, month - 1 do
    days = days + lengths[m]
  end
  return ((days + day - 1) * 24 + hour) * 60 + minute
end

local function mills_of(order)
  local sign, pounds, pence = order.price:match "^(%-?)(%d+)%.?(%d*)$"
  local mills = tonumber(pounds) * 1000 + tonumber((pence .. "000"):sub(1, 3))
  return (sign == "-" and -mills or mills) * order.quantity
end

---- the totals, worked out from the file ----

local function add(totals, name, lines, mills)
  local total = totals[name] or { lines = 0, mills = 0 }
  totals[name] = total
  total.lines, total.mills = total.lines + lines, total.mills + mills
end

-- Revenue by "COUNTRY YYYY-MM-DD HH", and sessions by "CUSTOMER FIRST-LAST" (minutes).
local function totals_of(path)
  local revenue, sessions, open, count = {}, {}, {}, 0
  local function close(customer)
    local s = open[customer]
    add(sessions, ("%s %d-%d"):format(customer, s.first, s.last), s.lines, s.mills)
  end
  each_order(path, function(order)
    local minute, mills = minutes_of(order.date), mills_of(order)
    count = count + 1
    add(revenue, order.country .. " " .. order.date:sub(1, 13), 1, mills)
    if order.customer ~= "" then
      local s = open[order.customer]
      if s and minute - s.last >= GAP_MINUTES then
        close(order.customer)
        s = nil
      end
      if not s then
        s = { first = minute, lines = 0, mills = 0 }
        open[order.customer] = s
      end
      s.last, s.lines, s.mills = minute, s.lines + 1, s.mills + mills
    end
  end)
  for customer in pairs(open) do
    close(customer)
  end
  return revenue, sessions, count
end

---- what the engine says ----

-- The IDs of entries are the orders' times.
local function feed(server, path)
  local commands, last, seq = {}, nil, 0
  each_order(path, function(order)
    seq = order.date == last and seq + 1 or 0
    last = order.date
    commands[#commands + 1] = { "XADD", "retail", ("%.0f-%d"):format(minutes_of(order.date) * 60000, seq), "date", order.date,
      "quantity", order.quantity, "price", order.price, "customer", order.customer, "country", order.country }
    if #commands == BATCH then
      server:pipeline(commands)
      commands = {}
    end
  end)
  server:pipeline(commands)
end

local function read(server, stream, name_of)
  local totals, from = {}, "-"
  repeat
    local page = server:call("XRANGE", stream, from, "+", "COUNT", BATCH)
    for _, entry in ipairs(page) do
      local e = engine.unpack(entry[2][2])
      local name = name_of(e)
      assert.is_nil(totals[name], name .. " has closed twice")
      totals[name] = { lines = e.lines, mills = tonumber((tostring(e.mills):gsub("int64 ", ""))) }
    end
    from = page[1] and "(" .. page[#page][1]
  until #page < BATCH
  return totals
end

local function same(expected, is, what)
  local count = 0
  for name, total in pairs(expected) do
    local other = is[name] or {}
    assert.same({ total.lines, total.mills }, { other.lines, other.mills }, what .. " of " .. name)
    count = count + 1
  end
  for name in pairs(is) do
    assert.is_truthy(expected[name], what .. " of " .. name)
  end
  return count
end

describe("the real orders of a shop #slow", function()
  local test = PATH and it or pending

  test("have the revenue per country and hour, and the sessions per customer, that the file has", function()
    local server, e = redis.start(), nil
    finally(function() engine.clear(server, e) end)
    feed(server, PATH)
    local began = wait.now()
    e = engine.start { server = server, rules = { ["revenue.lua"] = rule("revenue", "country", 'tumbling("1h")'),
      ["sessions.lua"] = rule("sessions", "customer", ('session("%dm")'):format(GAP_MINUTES)) } }
    e:wait_done(120)
    for _, name in ipairs { "revenue", "sessions" } do
      e:wait_equal(0, function() return server:call("EXISTS", e:key("windows:" .. name)) end, 20, "open windows of " .. name)
    end
    local took = wait.now() - began
    local revenue, sessions, count = totals_of(PATH)
    assert.same({}, e:letters())
    local hours = same(revenue, read(server, "revenue", function(w)
      assert.equal(3600000, w.stop - w.start)
      return w.key .. os.date("! %Y-%m-%d %H", w.start / 1000)
    end), "the revenue")
    local visits = same(sessions, read(server, "sessions", function(w)
      return ("%s %d-%d"):format(w.key, w.start / 60000, w.stop / 60000 - GAP_MINUTES)
    end), "the session")
    io.stderr:write(("  retail: %d order lines, %d hours of countries, %d sessions, all exact; %.1f s\n"):format(count, hours, visits,
      took))
  end)
end)
