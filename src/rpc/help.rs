//! The help texts of the methods, which are also the message of calls with too few or too many parameters. A text's first
//! line is how the method is called.

pub(super) const NAME_SHOW: &str = "\
name_show \"name\" ( options )
name_show \"identifier\" ( \"name_encoding\" \"value_encoding\" \"stream_id\" verify_sig options \"wallet\" )

Looks a name up and proves its value.

The first form is Namecoin Core's. Options: nameEncoding, valueEncoding (ascii, utf8 or hex), allowExpired (true or
false), byHash (direct), streamID, quorum (how many servers must answer; the newest proved value wins), maxAge (ask
anew what was asked for more seconds ago; 0: always), explain (true: say in words why there is no value). The second form is Electrum-NMC's.

The stream isolation ID may be called isolation_id in either form: lookups with equal IDs may be linked with each other,
others are kept apart. Options that are not listed are an error.";

pub(super) const NAME_HISTORY: &str = "\
name_history \"name\" ( options )

Shows all operations of a name that can be proved, oldest first.

Options: nameEncoding, valueEncoding (ascii, utf8 or hex), byHash (direct), streamID or isolation_id, explain.";

pub(super) const NAME_SCAN: &str = "\
name_scan ( \"start\" count options )

Lists names that are kept here (--names local or local-or-servers), as name_show shows them, from start on: shorter names
first, those of one length by their bytes. At most count of them, 500 unless it is said, 10000 at most.

Options: nameEncoding, valueEncoding (ascii, utf8 or hex), minConf, maxConf (confirmations of the newest operation), prefix (in
nameEncoding), regexp (searched in names that are UTF-8, byte by byte, with neither look-around nor references back).
streamID or isolation_id is taken and means nothing here, since nobody is asked.

Unlike Namecoin Core's, the list has living names alone: whatever has expired is not kept. Where name_show would not give a
value, since renewal is overdue or the registration is too young, withheld says so (semi-expired, unconfirmed). A name
whose newest operation can't be believed is in the list, so that the last name of a page is where the next one begins, but has
value_error in place of value, txid, vout and address.";

pub(super) const NAME_FILTER: &str = "\
name_filter ( \"regexp\" maxage from nb \"stat\" options )

Lists the names that are kept here and match a regular expression, as older versions of Namecoin Core do: those that were
updated in the last maxage blocks (36000; 0: all), without the first ones that fit, as many as from says (0), and at most nb of
them (0: all, which are 10000 at most). With the word stat they are counted: height of the newest block, and count.

Options, which are ours: nameEncoding, valueEncoding, streamID or isolation_id. What is listed, and what regexp can be, is as with
name_scan.";

pub(super) const NAME_PROOF: &str = "\
name_proof \"name\" ( options )

Looks a name up anew and shows what the answer stands on: the operations that were verified with their blocks and merkle
branches, where the work of the newest one's block was done and how much lies above it, what each server said, and what
nobody proved. Names and values are hex. That a name has no value, or that no server gave a proof that holds, is no error.

Options: nameEncoding, byHash (direct), streamID or isolation_id, quorum.";

pub(super) const GETBESTBLOCKHASH: &str = "\
getbestblockhash

Returns the hash of the newest header.";

pub(super) const GETADDRMANINFO: &str = "\
getaddrmaninfo

Counts known addresses of Namecoin's peers: none, for Electrum servers are asked.";

pub(super) const GETDIFFICULTY: &str = "\
getdifficulty

Returns the difficulty of the newest header.";

pub(super) const GETPEERINFO: &str = "\
getpeerinfo

Lists the Electrum servers that header sync found good. Connections of lookups are not listed; see isolation_info.";

pub(super) const LISTWALLETS: &str = "\
listwallets

Lists the wallets that are loaded: there are none.";

pub(super) const PING: &str = "\
ping

Does nothing: whoever gets an answer knows that the daemon runs.";

pub(super) const GETBLOCKCHAININFO: &str = "\
getblockchaininfo

Says how the headers stand. Blocks are not kept, so that their size is zero.";

pub(super) const GETBLOCKCOUNT: &str = "\
getblockcount

Returns the height of the newest header.";

pub(super) const GETBLOCKHASH: &str = "\
getblockhash height

Returns the hash of the best chain's header at a height, where it is kept.";

pub(super) const GETBLOCKHEADER: &str = "\
getblockheader \"blockhash\" ( verbose )

Returns a header: its fields, or its 80 bytes in hex when verbose is false. One beside the best chain has -1
confirmations. The number of transactions and the AuxPoW are not kept and left out, and so are chainwork and median time
where they lie below what is kept.";

pub(super) const GETCONNECTIONCOUNT: &str = "\
getconnectioncount

Returns the number of connections to Electrum servers.";

pub(super) const GETINFO: &str = "\
getinfo

Says in short how things stand.";

pub(super) const GETNETWORKINFO: &str = "\
getnetworkinfo

Returns the version, the proxy, and the number of connections to Electrum servers.";

pub(super) const HELP: &str = "\
help ( \"command\" )

Lists the methods, or tells about one.";

pub(super) const ISOLATION_FORGET: &str = "\
isolation_forget ( \"isolation_id\" )

Forgets a stream isolation ID at once: closes its connections and drops what is cached for it. Without an ID forgets all;
the empty one is the identity of calls without an ID.";

pub(super) const ISOLATION_INFO: &str = "\
isolation_info

Counts connections, live stream isolation IDs and lookups that wait: some seconds late, and rounded up to a multiple of
four, so that it does not tell when somebody looks something up.";

pub(super) const SERVER_LIST: &str = "\
server_list

Lists the servers that are known: configured or shipped ones, those that were learned, and those that were suggested.";

pub(super) const SERVER_ACCEPT: &str = "\
server_accept server

Has a server used, suggested or any other, once it was checked: by header sync first, by lookups after a week.";

pub(super) const SERVER_FORGET: &str = "\
server_forget server

Forgets a server that was learned or suggested.";

pub(super) const SERVERS: &str = "\
servers

Says how it goes with each server in header sync.";

pub(super) const ANCHOR_CHECK: &str = "\
anchor_check ( height )

Asks all servers for the block that they have at a height, by default that of the trust anchor.";

pub(super) const ANCHOR_EXPORT: &str = "\
anchor_export ( depth )

Returns the block so many below the tip as an anchor file, if every header up to the tip was verified in full.";

pub(super) const SETTINGS: &str = "\
settings

Returns the settings that the daemon runs with, as text, by the names of the options; secret ones are left out.";

pub(super) const STATUS: &str = "\
status

Says how the headers stand, and how it goes with each server in header sync.";

pub(super) const STOP: &str = "\
stop

Stops the daemon.";

pub(super) const UPTIME: &str = "\
uptime

Returns the seconds since the start.";
