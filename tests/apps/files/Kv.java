// SPDX-License-Identifier: Apache-2.0
// A web server that keeps what it is given in its memory: PUT and GET /kv/KEY; /boot is a number of this process.
import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.Executors;

public class Kv {
	static final ConcurrentHashMap<String, byte[]> store = new ConcurrentHashMap<>();

	static void answer(HttpExchange e, int status, byte[] body) throws IOException {
		e.sendResponseHeaders(status, body.length == 0 ? -1 : body.length);
		if (body.length != 0)
			e.getResponseBody().write(body);
		e.close();
	}

	static void kv(HttpExchange e) throws IOException {
		String path = e.getRequestURI().getPath();
		if (e.getRequestMethod().equals("PUT")) {
			store.put(path, e.getRequestBody().readAllBytes());
			answer(e, 200, new byte[0]);
			return;
		}
		byte[] value = store.get(path);
		answer(e, value == null ? 404 : 200, value == null ? new byte[0] : value);
	}

	// Live objects and garbage, so that the collector works while the pod moves.
	static void churn() {
		byte[][] live = new byte[2000][];
		for (int i = 0; ; i++) {
			live[i % live.length] = new byte[100_000];
			if (i % 10 == 0)
				try {
					Thread.sleep(5);
				} catch (InterruptedException x) {
					return;
				}
		}
	}

	public static void main(String[] args) throws IOException {
		byte[] boot = Long.toHexString(Double.doubleToLongBits(Math.random())).getBytes();
		HttpServer server = HttpServer.create(new InetSocketAddress("0.0.0.0", 8080), 64);
		server.setExecutor(Executors.newFixedThreadPool(16));
		server.createContext("/boot", e -> answer(e, 200, boot));
		server.createContext("/kv/", Kv::kv);
		Thread t = new Thread(Kv::churn);
		t.setDaemon(true);
		t.start();
		server.start();
	}
}
